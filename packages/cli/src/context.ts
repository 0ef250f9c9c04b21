/** What a handler may touch, in a real process. */

import { writeSync } from "node:fs";
import type { Context } from "./command.ts";

/**
 * The context of this process. Writes go straight to the descriptors: Node's
 * stream objects would change the mode of descriptors that the program in the
 * virtual machine gets next.
 */
export function processContext(): Context {
  return {
    env: process.env,
    cwd: process.cwd(),
    out: (text) => writeAll(1, text),
    err: (text) => writeAll(2, text),
  };
}

function writeAll(descriptor: number, text: string | Uint8Array): void {
  let bytes: Uint8Array = typeof text === "string" ? Buffer.from(text) : text;
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(descriptor, bytes));
    } catch (thrown) {
      const code = (thrown as NodeJS.ErrnoException).code;
      // The reader went away: there is nobody left to tell.
      if (code === "EPIPE" || code === "EBADF") return;
      if (code !== "EAGAIN") throw thrown;
      // A pipe that someone else made non-blocking is full: give its reader a moment.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
