/** The reference page of the errors, printed from the registry. */

import { type ErrorEntry, exitStatuses, registry } from "./registry.ts";

const faults: Readonly<Record<ErrorEntry["fault"], string>> = {
  user: "what was asked for",
  system: "the machine",
  spore: "Spore",
};

/** docs/reference/errors.md. */
export function errorReference(): string {
  const lines = [
    "# Errors",
    "",
    "Generated from `packages/errors/src/registry.ts`; a test keeps the two together.",
    "",
    "An error is one line on standard error: `error[CODE]: what happened — what to do next`.",
    "Once the program has started, the exit status is the program's own, or 128 + n if signal n ended it.",
    "Otherwise it says what kind of error it was:",
    "",
    "| status | meaning |",
    "|---|---|",
    ...Object.entries(exitStatuses).map(([status, meaning]) => `| ${status} | ${meaning} |`),
    "",
  ];
  for (const [code, entry] of Object.entries<ErrorEntry>(registry)) {
    const status = entry.exit === "program" ? "the program's" : String(entry.exit);
    lines.push(
      `## ${code}`,
      "",
      `- Says: ${entry.message}`,
      `- Do: ${entry.next}`,
      `- Exit status: ${status}`,
      `- Lies with: ${faults[entry.fault]}`,
      "",
    );
  }
  return lines.join("\n");
}
