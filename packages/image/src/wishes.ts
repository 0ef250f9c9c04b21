/** Which pieces of the library OS an image gets, by what its app needs. */

import type { Wishes } from "@spore/linker";
import type { NeededCall, NeededService, Needs } from "@spore/needs";
import { callNumber } from "@spore/needs/calls";
import { nameOfMadeUpFile } from "@spore/needs/made-up-files";
import type { BuildOptions } from "./types.ts";

/** Any of these may be given a path that nobody could see in the code. */
const OPENING: readonly string[] = [
  "open",
  "openat",
  "openat2",
  "creat",
  "stat",
  "newfstatat",
  "statx",
  "access",
];
/**
 * What an app can wait with. One that cannot wait is over before anybody could put it to sleep, unless it
 * says by /dev/spore when that may be.
 */
const WAITING: ReadonlySet<string> = new Set([
  ...["read", "readv", "poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"],
  ...["accept", "accept4", "recvfrom", "recvmsg", "recvmmsg", "nanosleep", "clock_nanosleep", "pause"],
  ...["rt_sigsuspend", "rt_sigtimedwait", "futex", "futex_waitv", "wait4", "waitid"],
]);

/** Where an app hears of freezes and restores: Node.js's own part of an image opens it. */
const LIFECYCLE_FILE = "file/dev/spore";
const WATCHING: readonly string[] = ["inotify_init1", "inotify_add_watch", "inotify_rm_watch"];

/** What to link for an app. */
export function wishesOf(needs: Needs): Wishes {
  const calls = needs.calls.map(({ name }) => name);
  const services = needs.services.map(({ name }) => name);
  if (needs.mode === "derived" && opensFiles(needs)) services.push("file/*");
  return {
    everything: needs.mode === "full" || isUnknown(needs),
    calls,
    services,
    pieces: askedFor([...needs.calls, ...needs.services]),
    without: needs.without ?? [],
    back: [],
  };
}

/** A piece as people may call it: /proc/net is a link, and /proc/1234 is the process itself. */
export function pieceName(said: string): string {
  return said.startsWith("file/") ? `file${nameOfMadeUpFile(said.slice(4)) ?? said.slice(4)}` : said;
}

/** The needs with what was asked for or left out by name, and what any app may be asked to do. */
export function withChoice(needs: Needs, { more = [], without = [] }: BuildOptions): Needs {
  const by = (name: string) => [{ kind: "flag", flag: `--piece ${name}` } as const];
  const calls = new Map(needs.calls.map((call) => [call.name, call]));
  const services = new Map(needs.services.map((service) => [service.name, service]));
  const waiting = needs.calls.find(({ name }) => WAITING.has(name) || OPENING.includes(name));
  if (waiting) {
    const flag = `${waiting.name}: what waits, or opens files, can be put to sleep`;
    services.set("snapshot", { name: "snapshot", by: [{ kind: "flag", flag }] });
  }
  if (services.has(LIFECYCLE_FILE)) {
    const flag = `${LIFECYCLE_FILE.slice(4)}: event loops hear of its news by inotify(7)`;
    for (const name of WATCHING) {
      if (!calls.has(name))
        calls.set(name, { number: callNumber(name) ?? -1, name, by: [{ kind: "flag", flag }] });
    }
  }
  for (const name of more.map(pieceName)) {
    const number = callNumber(name);
    if (number === undefined) {
      services.set(name, { name, by: [...(services.get(name)?.by ?? []), ...by(name)] });
    } else {
      calls.set(name, { number, name, by: [...(calls.get(name)?.by ?? []), ...by(name)] });
    }
  }
  return {
    ...needs,
    calls: [...calls.values()].sort((a, b) => a.number - b.number),
    services: [...services.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    ...(without.length > 0 && { without: without.map(pieceName) }),
  };
}

/** Whether an app may look at files at all. */
export function opensFiles(needs: Needs): boolean {
  return isUnknown(needs) || needs.calls.some(({ name }) => OPENING.includes(name));
}

/** Whether anything may be needed. Every program ends: where no end was found, more was missed. */
function isUnknown({ everything, calls }: Needs): boolean {
  return everything.length > 0 || !calls.some(({ name }) => name === "exit_group" || name === "exit");
}

/** What somebody asked for by name. */
function askedFor(needed: readonly (NeededCall | NeededService)[]): string[] {
  const isNamed = ({ by }: NeededCall | NeededService): boolean =>
    by.some((reason) => reason.kind === "flag" && reason.flag.startsWith("--piece "));
  return needed.filter(isNamed).map(({ name }) => name);
}
