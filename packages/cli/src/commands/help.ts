/** `spore help`. */

import { type Command, command } from "../command.ts";
import { commandHelp, overview } from "../help.ts";

/** The page of a command, or of all. */
export const help: Command = command({
  name: "help",
  summary: "Show what the commands do.",
  arguments: [{ name: "COMMAND", doc: "The command to explain.", optional: true }],
  options: {},
  examples: [{ line: "spore help run", doc: "Explain `spore run`." }],
  handle: async ({ words: [name] }, context) => {
    // Loaded late: the list of commands has this one in it.
    const { findCommand } = await import("./find.ts");
    const { commands } = await import("./index.ts");
    context.out(name === undefined ? overview(commands) : commandHelp(findCommand(name)));
    return 0;
  },
});
