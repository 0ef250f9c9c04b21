/** Processes by number and start time: a number alone may be somebody else's by now. */

import { readdirSync, readFileSync } from "node:fs";

/** Start time of a living process in clock ticks; null if there is none, or only its remains. */
export function startTicks(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** Sends a signal to that very process. */
export function signalProcess(pid: number, ticks: string, signal: NodeJS.Signals): void {
  if (startTicks(pid) !== ticks) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It ended in between.
  }
}

/** Processes whose command line holds a word that starts with `prefix`, and that word. */
export function processesWith(prefix: string): readonly { readonly pid: number; readonly word: string }[] {
  const found: { readonly pid: number; readonly word: string }[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
      const word = words.find((candidate) => candidate.startsWith(prefix));
      if (word !== undefined) found.push({ pid: Number(name), word });
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}
