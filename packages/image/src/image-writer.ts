/** Writes images: into the store, or as one tar file whose blobs can be mapped where they lie. */

import { createHash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import { join, resolve } from "node:path";
import { AtomicFile, atomicBeside, writeWhole } from "./atomic-file.ts";
import { alignmentOf, blobName, openForReading } from "./blob-layout.ts";
import { packed } from "./document.ts";
import { damaged, type ImageContent } from "./image-file.ts";
import { isWhole, touch } from "./layer.ts";
import { CONFIG_TYPE, MANIFEST_TYPE } from "./media-types.ts";
import { alignUp, HUGE } from "./memory-map.ts";
import {
  blobsOf,
  configText,
  type Descriptor,
  describe,
  indexText,
  LAYOUT_TEXT,
  manifestText,
  sha256Of,
} from "./oci.ts";
import type { Store } from "./store.ts";
import { TAR_BLOCK, tarHeader } from "./tar.ts";
import type { Blob, BlobPlace } from "./types.ts";

/** The documents of an image. */
interface Documents {
  readonly config: string;
  readonly manifest: string;
  readonly descriptor: Descriptor;
}

/**
 * Writes an image with all its blobs into one tar file, atomically. Where the
 * next blob would not begin at a page that can be mapped, a file of zeros
 * (`padding/N`) comes before it.
 */
export function writeImage(image: ImageContent, output: string): void {
  const file = atomicBeside(resolve(output));
  let paddings = 0;
  const addText = (name: string, text: string): void => {
    const bytes = Buffer.from(text);
    file.write(tarHeader(name, bytes.length));
    file.write(bytes);
    file.padTo(alignUp(file.length, TAR_BLOCK));
  };
  const addBlob = (blob: Blob & BlobPlace): void => {
    const start = alignUp(file.length + TAR_BLOCK, Math.max(alignmentOf(blob), TAR_BLOCK));
    if (start > file.length + TAR_BLOCK) {
      file.write(tarHeader(`padding/${paddings++}`, start - file.length - 2 * TAR_BLOCK));
      file.padTo(start - TAR_BLOCK);
    }
    file.write(tarHeader(blobName(`sha256:${blob.sha256}`), blob.length));
    copyBlob(file, blob);
    file.padTo(alignUp(file.length, TAR_BLOCK));
  };
  try {
    const { config, manifest, descriptor } = documentsOf(image);
    addText("oci-layout", LAYOUT_TEXT);
    addText("index.json", indexText([descriptor]));
    for (const text of [manifest, config]) addText(blobName(`sha256:${sha256Of(text)}`), text);
    for (const blob of distinct(blobsOf(image))) addBlob(blob);
    file.padTo(file.length + 2 * TAR_BLOCK);
    file.commit();
  } finally {
    file.discard();
  }
}

/** Writes the documents of an image whose blobs are in the store already; gives the manifest's path. */
export function storeImage(image: ImageContent, store: Store): string {
  const { config, manifest } = documentsOf(image);
  const layout = join(store.root, "oci-layout");
  if (!isWhole(layout, LAYOUT_TEXT.length, sha256Of(LAYOUT_TEXT))) writeWhole(layout, store.tmp, LAYOUT_TEXT);
  storeText(config, store);
  return storeText(manifest, store);
}

/** Puts a text into the store as a blob; gives its path. */
export function storeText(text: string, store: Store): string {
  return storeBytes(Buffer.from(text), store);
}

function storeBytes(bytes: Uint8Array, store: Store): string {
  const digest = sha256Of(bytes);
  const path = join(store.blobs, digest);
  // Kept as it is, what was noted of the file (its times) stays true.
  if (isWhole(path, bytes.length, digest)) touch(path);
  else writeWhole(path, store.tmp, bytes);
  return path;
}

/** Puts a document about an image into the store; the same value gives the same bytes. */
export function storeDocument(name: string, value: unknown, store: Store): Blob & BlobPlace {
  const bytes = packed(value);
  return {
    kind: "document",
    name,
    sha256: sha256Of(bytes),
    length: bytes.length,
    memoryLength: 0,
    // Nothing that a start follows: it is checked when it is read.
    metadataLength: 0,
    metadataSha256: sha256Of(""),
    path: storeBytes(bytes, store),
    offset: 0,
  };
}

/** Copies blobs from where they are into the store: all of them, or none if one is not what it should be. */
export function storeBlobs(blobs: readonly (Blob & BlobPlace)[], store: Store): void {
  const files: AtomicFile[] = [];
  try {
    for (const blob of distinct(blobs)) {
      const path = join(store.blobs, blob.sha256);
      if (isWhole(path, blob.length, blob.sha256)) {
        touch(path);
        continue;
      }
      const file = new AtomicFile(path, store.tmp, "");
      files.push(file);
      copyBlob(file, blob);
    }
    for (const file of files) file.commit();
  } finally {
    for (const file of files) file.discard();
  }
}

/** Manifest and configuration of an image as they stand in a store, to put them into another one. */
export function imageDocuments(image: ImageContent): readonly string[] {
  const { config, manifest } = documentsOf(image);
  return [config, manifest];
}

/** The documents of an image, as text. */
export function documentsOf(image: ImageContent): Documents {
  const config = configText(image);
  const manifest = manifestText(image, describe(CONFIG_TYPE, config));
  return { config, manifest, descriptor: describe(MANIFEST_TYPE, manifest) };
}

/** Each blob once: two layers may have the same bytes. */
export function distinct(blobs: readonly (Blob & BlobPlace)[]): (Blob & BlobPlace)[] {
  return [...new Map(blobs.map((blob) => [blob.sha256, blob])).values()];
}

/** Appends a blob from where it is; throws SPORE_IMAGE_DAMAGED if it is not what it should be. */
export function copyBlob(file: AtomicFile, blob: Blob & BlobPlace): void {
  const fd = openForReading(blob.path);
  const before = file.length;
  try {
    const buffer = Buffer.allocUnsafe(Math.min(HUGE, blob.length));
    const hash = createHash("sha256");
    while (file.length - before < blob.length) {
      const done = file.length - before;
      const count = readSync(fd, buffer, 0, Math.min(buffer.length, blob.length - done), blob.offset + done);
      if (count === 0) throw damaged(blob.path, `${blob.name} is cut short`);
      hash.update(buffer.subarray(0, count));
      file.write(buffer.subarray(0, count));
    }
    if (hash.digest("hex") !== blob.sha256) {
      throw damaged(blob.path, `the bytes of ${blob.name} have changed`);
    }
  } finally {
    closeSync(fd);
  }
}
