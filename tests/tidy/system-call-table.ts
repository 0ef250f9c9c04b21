/** Reads the kernel's system-call table, and prints its reference page. */

import { text } from "./files.ts";

/** One row of kernel/src/syscall/table.rs. */
export interface SystemCallRow {
  readonly number: number;
  readonly name: string;
  readonly parameters: readonly string[];
  readonly level: string;
  readonly note: string;
}

const row = /^\s*(\d+) (\w+)\(([^)]*)\) (\w+) [\w:]+, "((?:\\.|[^"\\])*)";/gm;

/** The rows in the order of their numbers. */
export function systemCallRows(): readonly SystemCallRow[] {
  const rows = [...text("kernel/src/syscall/table.rs").matchAll(row)].map((match) => ({
    number: Number(match[1]),
    name: match[2] ?? "",
    parameters: [...(match[3] ?? "").matchAll(/(\w+):/g)].map((parameter) => parameter[1] ?? ""),
    level: match[4] ?? "",
    note: (match[5] ?? "").replaceAll('\\"', '"'),
  }));
  return rows.sort((a, b) => a.number - b.number);
}

/** docs/reference/syscalls.md. */
export function systemCallReference(rows: readonly SystemCallRow[]): string {
  const count = (level: string) => rows.filter((each) => each.level === level).length;
  const lines = [
    "# System calls",
    "",
    "Generated from `kernel/src/syscall/table.rs`; a test keeps the two together.",
    "",
    "| level | meaning | calls |",
    "|---|---|---|",
    `| Full | as on Linux, for everything programs are known to ask | ${count("Full")} |`,
    `| Partial | with the limits that the note names | ${count("Partial")} |`,
    `| Constant | a fixed answer | ${count("Constant")} |`,
    `| Refused | an error, on purpose | ${count("Refused")} |`,
    "",
    "A call that is not listed answers ENOSYS, and is named once in the log with its caller.",
    "",
    "| number | call | level | note |",
    "|---|---|---|---|",
    ...rows.map(
      ({ number, name, parameters, level, note }) =>
        `| ${number} | \`${name}(${parameters.join(", ")})\` | ${level} | ${note.replaceAll("|", "\\|")} |`,
    ),
    "",
  ];
  return lines.join("\n");
}
