/** `--help`, printed from the descriptions of the commands. */

import type { Command, Options } from "./command.ts";
import { environment } from "./environment.ts";

const width = 80;

/** The page of `spore --help`. */
export function overview(commands: readonly Command[]): string {
  const rows = commands
    .filter(({ hidden }) => !hidden)
    .map(({ name, summary }): [string, string] => [name, summary]);
  return [
    "spore - runs a TypeScript server or a Linux program as a unikernel in its own KVM microVM",
    "",
    "Usage: spore COMMAND [OPTION...]",
    "",
    "Commands:",
    ...table(rows),
    "",
    "Options:",
    ...table([
      ["-h, --help", "Show this page, or the page of a command."],
      ["    --version", "Show the version."],
    ]),
    "",
    "Environment:",
    ...table(environment),
    "",
    "`spore COMMAND --help` tells more about a command.",
    "",
  ].join("\n");
}

/** The page of `spore COMMAND --help`. */
export function commandHelp(command: Command): string {
  const lines = [`${command.summary}`, "", `Usage: ${usage(command)}`, ""];
  for (const paragraph of command.about ?? []) lines.push(...wrap(paragraph, width), "");
  const words = argumentRows(command);
  if (words.length > 0) lines.push("Arguments:", ...table(words), "");
  lines.push("Options:", ...table(optionRows(command.options)), "");
  if (command.examples.length > 0) {
    lines.push("Examples:");
    for (const { line, doc } of command.examples) lines.push(`  ${line}`, `      ${doc}`);
    lines.push("");
  }
  return lines.join("\n");
}

/** `spore run [OPTION...] TARGET [-- ARG...]`. */
export function usage(command: Command): string {
  const words = command.arguments.map(({ name, optional }) => (optional ? `[${name}]` : name));
  const rest = command.rest ? [`[-- ${command.rest.name}...]`] : [];
  return ["spore", command.name, "[OPTION...]", ...words, ...rest].join(" ");
}

/** Name and meaning of each argument. */
export function argumentRows(command: Command): [string, string][] {
  const rows = command.arguments.map(({ name, doc }): [string, string] => [name, doc]);
  return command.rest ? [...rows, [`${command.rest.name}...`, command.rest.doc]] : rows;
}

/** Spelling and meaning of each option, `--help` last. */
export function optionRows(options: Options): [string, string][] {
  const rows = Object.entries(options).map(([name, option]): [string, string] => {
    const short = option.short === undefined ? "    " : `-${option.short}, `;
    const value = option.kind === "flag" ? "" : ` ${option.value}`;
    const repeat = option.kind === "list" ? " Repeatable." : "";
    const otherwise =
      option.kind !== "flag" && option.otherwise !== undefined ? ` Default: ${option.otherwise}.` : "";
    return [`${short}--${name}${value}`, `${option.doc}${repeat}${otherwise}`];
  });
  return [...rows, ["-h, --help", "Show this page."]];
}

/** Two columns; a left entry that is too wide stands on a line of its own. */
function table(rows: readonly (readonly [string, string])[]): string[] {
  const column = Math.min(Math.max(...rows.map(([left]) => left.length)), 26) + 4;
  return rows.flatMap(([left, right]) => {
    const text = wrap(right, width - column).map((line) => " ".repeat(column) + line);
    const head = `  ${left}`;
    if (head.length + 2 > column) return [head, ...text];
    return [head.padEnd(column) + (text[0] ?? "").slice(column), ...text.slice(1)];
  });
}

function wrap(text: string, limit: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > limit) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
