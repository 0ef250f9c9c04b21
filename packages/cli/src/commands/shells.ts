/** `spore shells`. */

import { type Command, command, flag, value } from "../command.ts";
import { readCount } from "../settings/values.ts";

/** Keeps machines of a snapshot standing by. */
export const shells: Command = command({
  name: "shells",
  summary: "Keep machines of a snapshot standing by, so that `spore run` wakes one at once.",
  about: [
    "Each machine stands in memory with its mappings warm and has not run yet; `spore run FILE` finds the pool by itself. One that was woken is replaced by a new one and never used again. Runs until Ctrl-C; machines that were woken run on.",
  ],
  arguments: [{ name: "FILE", doc: "A snapshot that `spore snapshot` wrote." }],
  options: {
    count: value({ short: "n", value: "N", doc: "How many.", otherwise: "2", read: readCount }),
    json: flag({ doc: "Print events to standard output, one JSON object a line (standby, taken)." }),
  },
  examples: [{ line: "spore shells hello.snap -n 4", doc: "Four machines, ready to be woken." }],
  handle: async ({ options, words }, context) =>
    (await import("../snapshot/shells.ts")).keepShells(options, words, context),
});
