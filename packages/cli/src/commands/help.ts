/** `spore help`. */

import { sporeError } from "@spore/errors";
import { type Command, command } from "../command.ts";
import { commandHelp, overview } from "../help.ts";
import { nearest } from "../suggest.ts";
import { commands } from "./index.ts";

/** The page of a command, or of all. */
export const help: Command = command({
  name: "help",
  summary: "Show what the commands do.",
  arguments: [{ name: "COMMAND", doc: "The command to explain.", optional: true }],
  options: {},
  examples: [{ line: "spore help run", doc: "Explain `spore run`." }],
  handle: ({ words: [name] }, context) => {
    context.out(name === undefined ? overview(commands) : commandHelp(findCommand(name)));
    return 0;
  },
});

/** The command of that name. Throws SPORE_USAGE with the nearest one. */
export function findCommand(name: string): Command {
  const found = commands.find((candidate) => candidate.name === name);
  if (found) return found;
  const names = commands.filter(({ hidden }) => !hidden).map((candidate) => candidate.name);
  const near = nearest(name, names);
  throw sporeError(
    "SPORE_USAGE",
    { problem: `unknown command "${name}"`, command: "help" },
    { next: near === undefined ? "see `spore --help`" : `did you mean \`spore ${near}\`?` },
  );
}
