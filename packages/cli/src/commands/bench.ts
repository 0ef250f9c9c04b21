/** `spore bench`. */

import { type Command, command, flag, list, value } from "../command.ts";
import { readCount, readText } from "../settings/values.ts";

/** Measures, beside the native program in the same run. */
export const bench: Command = command({
  name: "bench",
  summary: "Measure boot, HTTP and system calls beside the native program, and print a table.",
  arguments: [],
  options: {
    only: list({
      value: "BENCH",
      doc: "Run this benchmark only: boot, build, calls, idle, http, wake, fork, snapshot, memory or cloud.",
      otherwise: "all",
      read: readText,
    }),
    samples: value({
      value: "N",
      doc: "Time N boots of each program, or N wakes.",
      otherwise: "200",
      read: readCount,
    }),
    json: flag({
      doc: "Print one JSON object a row: bench, case, unit, ours, native, ratio; ours and native hold min, p50, p99.",
    }),
  },
  examples: [{ line: "spore bench --only boot", doc: "Measure how long a boot takes." }],
  handle: async ({ options }, context) => (await import("../bench.ts")).runBench(options, context),
});
