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
    output: value({
      short: "o",
      value: "FILE",
      doc: "File to write (required); with a slash at the end, or where there is a directory: an OCI image layout as a directory.",
      read: readText,
    }),
    record: value({
      value: "COMMAND",
      doc: "Run the app with a full library OS while COMMAND (its tests, a load script) exercises it at $SPORE_URL, port $PORT, and build the image with what it used. The recording is kept: spore.recording.json in a project, FILE.recording.json for a program.",
      read: readText,
    }),
    ...imageOptions,
  },
  examples: [
    { line: "spore build examples/hello -o hello.spore", doc: "Build an image from a project." },
    {
      line: "spore build . -o app.spore --record 'npm run smoke'",
      doc: "Build it with what the app used while its smoke test ran.",
    },
    { line: "spore build /usr/bin/redis-server -o redis.spore -m 1G", doc: "Build one from a program." },
  ],
  handle: async (invocation, context) => (await import("../build.ts")).buildTarget(invocation, context),
});
