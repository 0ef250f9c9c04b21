/** `spore build`. */

import { type Command, command, value } from "../command.ts";
import { imageOptions } from "../settings/options.ts";
import { readText } from "../settings/values.ts";
import { about, target } from "./target.ts";

/** Writes the image of a target into one file. */
export const build: Command = command({
  name: "build",
  summary: "Build the image of a project or program and write it to a file.",
  about: [...about, "The options are kept in the image as what a run uses unless told otherwise."],
  arguments: [target],
  rest: { name: "ARG", doc: "Arguments of the program, kept in the image." },
  options: {
    output: value({ short: "o", value: "FILE", doc: "File to write (required).", read: readText }),
    ...imageOptions,
  },
  examples: [
    { line: "spore build examples/hello -o hello.spore", doc: "Build an image from a project." },
    { line: "spore build /usr/bin/redis-server -o redis.spore -m 1G", doc: "Build one from a program." },
  ],
  handle: async (invocation, context) => (await import("../build.ts")).buildTarget(invocation, context),
});
