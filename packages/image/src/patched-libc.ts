/** System calls of the C library, rewritten into jumps to the library OS. */

import { patchSyscalls } from "@spore/patch";
import { guarded } from "./program-file.ts";
import type { Decision } from "./types.ts";

/** Rewrites a C library or dynamic linker; what cannot be rewritten traps, which is slower and as correct. */
export function patchedLibc(host: string, bytes: Uint8Array, decisions: Decision[]): Uint8Array {
  const result = guarded(host, () => patchSyscalls(bytes));
  const { sites, patched } = result.report;
  if (sites === 0) return bytes;
  decisions.push({
    topic: "patch",
    what: `${host}: ${patched} of ${sites} system calls`,
    why: "a jump into the library OS costs a hundredth of a trap",
  });
  return result.bytes;
}
