/** The reference page of the command line, printed from the descriptions of the commands. */

import type { Command } from "./command.ts";
import { environment } from "./environment.ts";
import { argumentRows, optionRows, usage } from "./help.ts";

/** docs/reference/cli.md. */
export function cliReference(commands: readonly Command[]): string {
  const shown = commands.filter(({ hidden }) => !hidden);
  const lines = [
    "# The command line",
    "",
    "Generated from the descriptions in `packages/cli/src/commands`; a test keeps the two together.",
    "Errors and exit statuses: [errors.md](errors.md).",
    "",
  ];
  for (const command of shown) lines.push(...section(command));
  lines.push("## Environment", "", "| variable | meaning |", "|---|---|", ...environment.map(row), "");
  return lines.join("\n");
}

function section(command: Command): string[] {
  const lines = [`## spore ${command.name}`, "", command.summary, "", "```", usage(command), "```", ""];
  for (const paragraph of command.about ?? []) lines.push(paragraph, "");
  const words = argumentRows(command);
  if (words.length > 0) lines.push("| argument | meaning |", "|---|---|", ...words.map(row), "");
  lines.push("| option | meaning |", "|---|---|", ...optionRows(command.options).map(row), "");
  for (const { line, doc } of command.examples) lines.push("```sh", `# ${doc}`, line, "```", "");
  return lines;
}

function row([left, right]: readonly [string, string]): string {
  return `| \`${left.trim()}\` | ${right.replaceAll("|", "\\|")} |`;
}
