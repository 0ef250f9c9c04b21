/** Files that are either whole or not there. */

import { createHash, type Hash } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { sporeError } from "@spore/errors";
import { HUGE } from "./memory-map.ts";
import { removeStale, temporaryName } from "./store.ts";

/**
 * Writes a file from front to back in 2 MiB pieces at 2 MiB offsets: ext4 then
 * keeps it in large folios, which KVM can map with 2 MiB pages. The file gets
 * its name only once everything is on disk.
 */
export class AtomicFile {
  readonly #temporary: string;
  readonly #fd: number;
  readonly #buffer: Buffer = Buffer.allocUnsafe(HUGE);
  readonly #hash: Hash = createHash("sha256");
  readonly #target: string;
  #used = 0;
  #length = 0;
  #open = true;

  /** `folder` holds the unfinished file; it must be on the file system of the final name. */
  constructor(target: string, folder: string, prefix: string) {
    this.#target = target;
    this.#temporary = join(folder, temporaryName(prefix));
    this.#fd = attempt(target, () => openSync(this.#temporary, "wx", 0o644));
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Appends bytes. */
  write(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#length += bytes.length;
    let from = 0;
    while (from < bytes.length) {
      const count = Math.min(bytes.length - from, HUGE - this.#used);
      this.#buffer.set(bytes.subarray(from, from + count), this.#used);
      this.#used += count;
      from += count;
      if (this.#used === HUGE) this.#flush();
    }
  }

  /** Appends zeros up to `offset`. */
  padTo(offset: number): void {
    while (this.#length < offset)
      this.write(zeros.subarray(0, Math.min(zeros.length, offset - this.#length)));
  }

  /** Lower-case hex SHA-256 of everything written; nothing may be written after. */
  digest(): string {
    return this.#hash.digest("hex");
  }

  /** Puts the file under its name (or another one), on disk. */
  commit(target: string = this.#target): void {
    this.#flush();
    this.#open = false;
    try {
      attempt(target, () => {
        fsyncSync(this.#fd);
        closeSync(this.#fd);
        renameSync(this.#temporary, target);
      });
    } catch (error) {
      rmSync(this.#temporary, { force: true });
      throw error;
    }
  }

  /** Drops the file; does nothing after `commit`. */
  discard(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
    rmSync(this.#temporary, { force: true });
  }

  #flush(): void {
    let from = 0;
    while (from < this.#used) {
      from += attempt(this.#target, () => writeSync(this.#fd, this.#buffer, from, this.#used - from));
    }
    this.#used = 0;
  }
}

/** A file beside its final name, for results that the user named. */
export function atomicBeside(target: string): AtomicFile {
  const there = statSync(target, { throwIfNoEntry: false });
  // Taking its place would make a directory or a device disappear.
  if (there && !there.isFile()) {
    const problem = there.isDirectory() ? "it is a directory" : "it is not a regular file";
    throw sporeError("SPORE_OUTPUT_WRITE", { file: target, problem });
  }
  const folder = dirname(target);
  const prefix = `.${basename(target)}.`;
  removeStale(folder, prefix);
  return new AtomicFile(target, folder, prefix);
}

/** Writes a small file whole. */
export function writeWhole(target: string, folder: string, content: string | Uint8Array): void {
  const file = new AtomicFile(target, folder, "");
  try {
    file.write(typeof content === "string" ? Buffer.from(content) : content);
    file.commit();
  } finally {
    file.discard();
  }
}

/**
 * Writes what can be found out again: whole to every reader, but not waited for until it is on disk.
 * After a loss of power it may be cut, which JSON shows.
 */
export function writeRecord(target: string, folder: string, value: unknown): void {
  const temporary = join(folder, temporaryName(""));
  try {
    attempt(target, () => {
      writeFileSync(temporary, JSON.stringify(value), { flag: "wx" });
      renameSync(temporary, target);
    });
  } finally {
    rmSync(temporary, { force: true });
  }
}

const zeros = new Uint8Array(65536);

/** Runs a write; what the system refuses becomes SPORE_OUTPUT_WRITE. */
function attempt<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw sporeError("SPORE_OUTPUT_WRITE", { file, problem }, { cause: error });
  }
}
