/** Writes image files; image-file.ts says what is in them. */

import { createHash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import { join, resolve } from "node:path";
import { AtomicFile, atomicBeside } from "./atomic-file.ts";
import { damaged, type ImageContent, openForReading } from "./image-file.ts";
import { HEADER, MAGIC, type StoredBlob, type StoredImage, tableText, VERSION } from "./image-table.ts";
import { alignUp, HUGE, PAGE } from "./memory-map.ts";
import type { Store } from "./store.ts";
import type { Blob, BlobPlace } from "./types.ts";

/** Writes an image with all its blobs into one file, atomically. */
export function writeImage(image: ImageContent, output: string): void {
  const file = atomicBeside(resolve(output));
  try {
    const stored = withOffsets(image);
    writeFront(file, stored.image, stored.length);
    for (const [index, blob] of [image.kernel, ...image.layers].entries()) {
      const place = index === 0 ? stored.image.kernel : stored.image.layers[index - 1];
      file.padTo(place?.offset ?? file.length);
      copyBlob(file, blob);
    }
    file.padTo(stored.length);
    file.commit();
  } finally {
    file.discard();
  }
}

/** Writes an image into the store, its blobs by name; gives its path. */
export function storeImage(image: ImageContent, store: Store): string {
  const away = (blob: Blob): StoredBlob => ({ ...blobFields(blob), offset: null });
  const stored: StoredImage = { ...image, kernel: away(image.kernel), layers: image.layers.map(away) };
  const text = Buffer.from(tableText(stored));
  const digest = createHash("sha256").update(text).digest("hex");
  const target = join(store.images, digest);
  const file = new AtomicFile(target, store.tmp, "");
  try {
    writeFront(file, stored, PAGE + text.length);
    file.commit();
  } finally {
    file.discard();
  }
  return target;
}

/** Header and table. */
function writeFront(file: AtomicFile, stored: StoredImage, length: number): void {
  const table = Buffer.from(tableText(stored));
  const header = Buffer.alloc(PAGE);
  header.write(MAGIC, HEADER.magic, "latin1");
  header.writeUInt32LE(VERSION, HEADER.version);
  header.writeBigUInt64LE(BigInt(PAGE), HEADER.tableOffset);
  header.writeBigUInt64LE(BigInt(table.length), HEADER.tableLength);
  header.writeBigUInt64LE(BigInt(length), HEADER.fileLength);
  createHash("sha256").update(table).digest().copy(header, HEADER.tableSha);
  createHash("sha256").update(header).digest().copy(header, HEADER.headerSha);
  file.write(header);
  file.write(table);
}

/** Gives every blob its offset. The table's length depends on the offsets, so it settles in rounds. */
function withOffsets(image: ImageContent): { image: StoredImage; length: number } {
  let tableLength = 0;
  for (;;) {
    let end = PAGE + tableLength;
    const put = (blob: Blob): StoredBlob => {
      const offset = alignUp(end, blob.length >= HUGE ? HUGE : PAGE);
      end = offset + blob.length;
      return { ...blobFields(blob), offset };
    };
    const stored = { ...image, kernel: put(image.kernel), layers: image.layers.map(put) };
    const needed = Buffer.byteLength(tableText(stored));
    if (needed <= tableLength) return { image: stored, length: alignUp(end, PAGE) };
    tableLength = needed;
  }
}

function blobFields(blob: Blob): Blob {
  const { kind, name, sha256, length, memoryLength, metadataLength, metadataSha256 } = blob;
  return { kind, name, sha256, length, memoryLength, metadataLength, metadataSha256 };
}

function copyBlob(file: AtomicFile, blob: Blob & BlobPlace): void {
  const fd = openForReading(blob.path);
  try {
    const buffer = Buffer.allocUnsafe(Math.min(HUGE, Math.max(blob.length, 1)));
    const hash = createHash("sha256");
    let done = 0;
    while (done < blob.length) {
      const count = readSync(fd, buffer, 0, Math.min(buffer.length, blob.length - done), blob.offset + done);
      if (count === 0) throw damaged(blob.path, `${blob.name} is cut short`);
      hash.update(buffer.subarray(0, count));
      file.write(buffer.subarray(0, count));
      done += count;
    }
    if (hash.digest("hex") !== blob.sha256)
      throw damaged(blob.path, `the bytes of ${blob.name} have changed`);
  } finally {
    closeSync(fd);
  }
}
