/** `spore run`. */

import { type Command, command } from "../command.ts";
import { imageOptions, runOptions } from "../settings/options.ts";
import { about, target } from "./target.ts";

/** Builds what is needed and runs the target in a virtual machine of its own. */
export const run: Command = command({
  name: "run",
  summary: "Run a project, a program or an image in a virtual machine of its own.",
  about: [
    ...about,
    "Standard input, output and error are the program's own. The exit status is the program's, or 128 + n if signal n ended it. Ctrl-C and SIGTERM reach the program as signals; one that does not stop is stopped after 10 seconds.",
  ],
  arguments: [target],
  rest: { name: "ARG", doc: "Arguments of the program." },
  options: { ...imageOptions, ...runOptions },
  examples: [
    { line: "spore run examples/hello", doc: "Run a project; Ctrl-C stops it." },
    { line: "spore run -p 0:80 -m 256M ./server -- --verbose", doc: "Run a program on a free port." },
    { line: "spore run --json hello.spore", doc: "Run an image and follow its events." },
  ],
  handle: async (invocation, context) => (await import("../run.ts")).runTarget(invocation, context),
});
