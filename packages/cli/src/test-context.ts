/** A context for tests: remembers what was written. */

import type { Context } from "./command.ts";

/** A context and what was written to it. */
export interface TestContext extends Context {
  readonly output: () => string;
  readonly errors: () => string;
}

/** Makes one; nothing reaches the real streams. */
export function testContext(env: Context["env"] = {}, cwd: string = process.cwd()): TestContext {
  let [output, errors] = ["", ""];
  return {
    env,
    cwd,
    out: (text) => {
      output += typeof text === "string" ? text : Buffer.from(text).toString();
    },
    err: (text) => {
      errors += text;
    },
    output: () => output,
    errors: () => errors,
  };
}
