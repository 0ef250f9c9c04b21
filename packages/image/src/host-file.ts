/** A first look at files of the host. */

import { closeSync, openSync, readSync } from "node:fs";
import { sporeError } from "@spore/errors";

/** The first bytes of a file, at most `length`. */
export function readStart(path: string, length: number): Uint8Array {
  const bytes = Buffer.alloc(length);
  const fd = openReadable(path);
  try {
    return bytes.subarray(0, readSync(fd, bytes, 0, length, 0));
  } finally {
    closeSync(fd);
  }
}

/** True if the bytes begin like an ELF file. */
export function looksLikeElf(start: Uint8Array): boolean {
  return start[0] === 0x7f && start[1] === 0x45 && start[2] === 0x4c && start[3] === 0x46;
}

/** Opens a program or library; one that may not be read is no program that can be run. */
function openReadable(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw sporeError("SPORE_ELF_INVALID", { file: path, problem }, { cause: error });
  }
}
