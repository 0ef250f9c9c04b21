/**
 * The library OS as it travels: compressed, since an image of a small program would
 * consist of little else. The monitor reads it as it is in memory, from the store.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { writeWhole } from "./atomic-file.ts";
import { readExactly } from "./blob-layout.ts";
import { fingerprint } from "./build-record.ts";
import { explained } from "./image-file.ts";
import { touch } from "./layer.ts";
import { DocumentError } from "./oci.ts";
import { prepareStore, type Store } from "./store.ts";
import type { Blob, BlobPlace } from "./types.ts";

/** Compresses a linked kernel; the same bytes give the same bytes. */
export function packKernel(image: Uint8Array): Uint8Array {
  return zstdCompressSync(image);
}

/** The kernel of an image as it is in memory. Throws SPORE_IMAGE_DAMAGED. */
export function unpackKernel(kernel: Blob & BlobPlace): Uint8Array {
  return explained(kernel.path, () => {
    const packed = readExactly(kernel, kernel.length, "kernel");
    try {
      return zstdDecompressSync(packed, { maxOutputLength: Math.max(kernel.memoryLength, 1) });
    } catch (error) {
      throw new DocumentError("its kernel cannot be unpacked", { cause: error });
    }
  });
}

/** Unpacked kernels that this process has compared with what they were unpacked from, by path. */
const compared = new Map<string, { readonly seen: string; readonly length: number }>();

/**
 * Where the kernel of an image lies as it is in memory: in the store, from now on. One that
 * was compared before and has not changed since is only looked up: a daemon asks at every wake.
 */
export function kernelFile(kernel: Blob & BlobPlace, store: Store): BlobPlace & { readonly length: number } {
  const path = join(store.links, `${kernel.sha256}.kernel`);
  const known = compared.get(path);
  if (known?.seen === fingerprint(path)) return { path, offset: 0, length: known.length };
  const bytes = unpackKernel(kernel);
  if (hasBytes(path, bytes)) touch(path);
  else {
    prepareStore(store);
    writeWhole(path, store.tmp, bytes);
  }
  compared.set(path, { seen: fingerprint(path), length: bytes.length });
  return { path, offset: 0, length: bytes.length };
}

function hasBytes(path: string, bytes: Uint8Array): boolean {
  try {
    return readFileSync(path).equals(bytes);
  } catch {
    return false;
  }
}
