/** A first look at files of the host. */

import { closeSync, openSync, readSync } from "node:fs";
import { sporeError } from "@spore/errors";

/** The first bytes of a file, at most `length`. */
export function readStart(path: string, length: number): Uint8Array {
  const bytes = Buffer.alloc(length);
  const fd = openReadable(path);
  try {
    return bytes.subarray(
      0,
      readable(path, () => readSync(fd, bytes, 0, length, 0)),
    );
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

/** Runs something that reads the host's files; what the system refuses becomes SPORE_FILE_UNREADABLE. */
export function readable<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const system = cause instanceof Error && "syscall" in cause && "code" in cause;
    if (!system) throw cause;
    const path = "path" in cause && typeof cause.path === "string" ? cause.path : file;
    // "EACCES: permission denied, open '/x'": the path stands before it.
    const problem = cause.message.replace(/^\w+: /, "").replace(/,[^,]*$/, "");
    throw sporeError("SPORE_FILE_UNREADABLE", { file: path, problem }, { cause });
  }
}
