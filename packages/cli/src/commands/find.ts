/** A command by its name. */

import { sporeError } from "@spore/errors";
import type { Command } from "../command.ts";
import { nearest } from "../suggest.ts";
import { commands } from "./index.ts";

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
