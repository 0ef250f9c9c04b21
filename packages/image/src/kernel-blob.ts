/** The library OS as a flat blob: what the monitor copies to KERNEL_GPA. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseElf } from "@spore/elf";
import { sporeError } from "@spore/errors";
import { writeWhole } from "./atomic-file.ts";
import { isWhole, touch } from "./layer.ts";
import { KERNEL_END, KERNEL_GPA, KERNEL_VA } from "./memory-map.ts";
import type { Store } from "./store.ts";
import type { Blob, BlobPlace } from "./types.ts";

/** First bytes of the header page. */
const MAGIC = "SPOREKRN";

/** Flattens a kernel ELF: its loadable segments as they stand from KERNEL_VA on. */
export function flattenKernel(elfBytes: Uint8Array): { bytes: Uint8Array; memoryLength: number } {
  const { loads } = parseElf(elfBytes);
  let length = 0;
  let memoryLength = 0;
  for (const load of loads) {
    if (load.vaddr < KERNEL_VA) throw new Error("a kernel segment lies below the kernel's address");
    length = Math.max(length, load.vaddr - KERNEL_VA + load.fileSize);
    memoryLength = Math.max(memoryLength, load.vaddr - KERNEL_VA + load.memorySize);
  }
  if (memoryLength > KERNEL_END - KERNEL_GPA) throw new Error("the kernel is larger than its window");
  const bytes = new Uint8Array(length);
  for (const load of loads) {
    bytes.set(elfBytes.subarray(load.offset, load.offset + load.fileSize), load.vaddr - KERNEL_VA);
  }
  if (Buffer.from(bytes.subarray(0, 8)).toString("latin1") !== MAGIC) {
    throw new Error("the kernel does not begin with its header page");
  }
  return { bytes, memoryLength };
}

/** Puts the kernel into the store. */
export function storeKernel(path: string, store: Store): Blob & BlobPlace {
  let elf: Buffer;
  try {
    elf = readFileSync(path);
  } catch (error) {
    throw sporeError("SPORE_NOT_BUILT", { what: "the library OS", path }, { cause: error });
  }
  const { bytes, memoryLength } = flattenKernel(elf);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const target = join(store.blobs, sha256);
  if (isWhole(target, bytes.length, sha256)) touch(target);
  else writeWhole(target, store.tmp, bytes);
  return {
    kind: "kernel",
    name: "kernel",
    sha256,
    length: bytes.length,
    memoryLength,
    metadataLength: bytes.length,
    metadataSha256: sha256,
    path: target,
    offset: 0,
  };
}
