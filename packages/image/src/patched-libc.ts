/** System calls of the C library, rewritten into jumps to the library OS. */

import type { Decision } from "./types.ts";

/** Rewrites a C library or dynamic linker. */
export function patchedLibc(host: string, bytes: Uint8Array, decisions: Decision[]): Uint8Array {
  decisions.push({ topic: "patch", what: `${host}: unchanged`, why: "the patcher is not there yet" });
  return bytes;
}
