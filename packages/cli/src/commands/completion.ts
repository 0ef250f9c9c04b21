/** `spore completion`. */

import { sporeError } from "@spore/errors";
import { type Command, command } from "../command.ts";
import { completion as script, shells } from "../completion.ts";

/** Prints what a shell reads to complete `spore`. */
export const completion: Command = command({
  name: "completion",
  summary: "Print a script that lets a shell complete commands and options.",
  arguments: [{ name: "SHELL", doc: `One of ${shells.join(", ")}.`, choices: shells }],
  options: {},
  examples: [
    { line: 'eval "$(spore completion bash)"', doc: "In ~/.bashrc; zsh takes the same in ~/.zshrc." },
    { line: "spore completion fish | source", doc: "In ~/.config/fish/config.fish." },
  ],
  handle: async ({ words: [wanted] }, context) => {
    const shell = shells.find((known) => known === wanted);
    if (shell === undefined) {
      const problem = `no completion for "${wanted}": expected one of ${shells.join(", ")}`;
      throw sporeError("SPORE_USAGE", { problem, command: "completion" });
    }
    // Loaded late: the list of commands has this one in it.
    const { commands } = await import("./index.ts");
    context.out(script(shell, commands));
    return 0;
  },
});
