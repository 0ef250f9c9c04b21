/** From the words of the command line to an exit status. */

import { asSporeError, sporeError } from "@spore/errors";
import type { Context } from "./command.ts";
import { findCommand } from "./commands/find.ts";
import { commands } from "./commands/index.ts";
import { commandHelp, overview } from "./help.ts";
import { parse } from "./parse.ts";
import { version } from "./version.ts";

/** Carries out one command line. Every failure ends here, as one line. */
export async function dispatch(words: readonly string[], context: Context): Promise<number> {
  try {
    return await carryOut(words, context);
  } catch (thrown) {
    const error = asSporeError(thrown);
    context.err(`${error.line}\n`);
    if (context.env["SPORE_DEBUG"]) context.err(`${stackOf(error.cause ?? error)}\n`);
    return error.exitStatus;
  }
}

async function carryOut(words: readonly string[], context: Context): Promise<number> {
  const [first, ...others] = words;
  if (first === "--version" || first === "-V") {
    context.out(`spore ${version()}\n`);
    return 0;
  }
  if (first === "--help" || first === "-h") {
    context.out(overview(commands));
    return 0;
  }
  if (first === undefined) {
    context.err(overview(commands));
    return 64;
  }
  if (first.startsWith("-")) {
    throw sporeError(
      "SPORE_USAGE",
      { problem: `unknown option ${first}`, command: "help" },
      { next: "options follow the command: `spore run [OPTION...] TARGET`" },
    );
  }
  const command = findCommand(first);
  const parsed = parse(command, others);
  if (parsed.help) {
    context.out(commandHelp(command));
    return 0;
  }
  return command.handle(parsed.invocation, context);
}

function stackOf(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}
