/** What `spore crash-report` does. */

import type { Context } from "../command.ts";

/** Reads the crash from standard input and explains it. */
export function runCrashReport(_context: Context): Promise<number> {
  return Promise.resolve(0);
}
