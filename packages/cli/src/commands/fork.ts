/** `spore fork`. */

import { type Command, command, flag, list, value } from "../command.ts";
import { readCount, readVariable } from "../settings/values.ts";

/** Starts many machines from one snapshot. */
export const fork: Command = command({
  name: "fork",
  summary: "Start many machines from one snapshot, each on a free port.",
  about: [
    "Prints one address a machine; Ctrl-C stops them all. Machines share the snapshot's memory until they change it.",
  ],
  arguments: [{ name: "FILE", doc: "A snapshot that `spore snapshot` wrote." }],
  options: {
    count: value({ short: "n", value: "N", doc: "How many.", otherwise: "1", read: readCount }),
    env: list({
      short: "e",
      value: "KEY=VALUE",
      doc: "Set an environment variable, which the program sees through @spore/sdk.",
      read: readVariable,
    }),
    json: flag({
      doc: "Print events to standard output, one JSON object a line, with the number of the machine.",
    }),
  },
  examples: [{ line: "spore fork hello.snap -n 10", doc: "Ten machines." }],
  handle: async ({ options, words }, context) =>
    (await import("../snapshot/fork.ts")).forkSnapshot(options, words, context),
});
