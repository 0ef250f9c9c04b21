/** `spore crash-report`: the monitor calls it when a program has crashed. */

import { type Command, command } from "../command.ts";

/** Explains a crash: JSON on standard input, text for people on standard error. */
export const crashReport: Command = command({
  name: "crash-report",
  summary: "Explain the crash that the monitor describes on standard input.",
  arguments: [],
  options: {},
  examples: [],
  hidden: true,
  handle: async (_invocation, context) => (await import("../crash/crash-report.ts")).runCrashReport(context),
});
