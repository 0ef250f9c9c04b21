/** Writes an image as a directory: an OCI image layout of one image. What is there already is not written again. */

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { sporeError } from "@spore/errors";
import { AtomicFile } from "./atomic-file.ts";
import { blobName, isLayoutFolder } from "./blob-layout.ts";
import type { ImageContent } from "./image-file.ts";
import { copyBlob, distinct, documentsOf } from "./image-writer.ts";
import { isWhole } from "./layer.ts";
import { blobsOf, indexText, LAYOUT_TEXT, sha256Of } from "./oci.ts";

/**
 * Writes the blobs, then the index, which is when the image is there. An image that the directory held
 * before is replaced: what it alone needed goes last.
 */
export function writeImageFolder(image: ImageContent, folder: string): void {
  const blobs = join(folder, "blobs/sha256");
  try {
    mkdirSync(folder, { recursive: true });
    if (readdirSync(folder).length > 0 && !isLayoutFolder(folder)) {
      throw new Error("it is a directory that holds something else than an image");
    }
    mkdirSync(blobs, { recursive: true });
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw sporeError("SPORE_OUTPUT_WRITE", { file: folder, problem }, { cause });
  }
  const { config, manifest, descriptor } = documentsOf(image);
  const wanted = new Set<string>();
  for (const blob of distinct(blobsOf(image))) {
    wanted.add(blob.sha256);
    const path = join(blobs, blob.sha256);
    if (!isWhole(path, blob.length, blob.sha256)) write(path, blobs, (file) => copyBlob(file, blob));
  }
  const texts = [config, manifest].map((text) => [blobName(`sha256:${sha256Of(text)}`), text] as const);
  for (const [name, text] of [
    ...texts,
    ["oci-layout", LAYOUT_TEXT],
    ["index.json", indexText([descriptor])],
  ]) {
    wanted.add(name.replace("blobs/sha256/", ""));
    const bytes = Buffer.from(text);
    const path = join(folder, name);
    if (!isWhole(path, bytes.length, sha256Of(text))) write(path, blobs, (file) => file.write(bytes));
  }
  for (const name of readdirSync(blobs)) {
    if (/^[0-9a-f]{64}$/.test(name) && !wanted.has(name)) rmSync(join(blobs, name), { force: true });
  }
}

function write(path: string, folder: string, fill: (file: AtomicFile) => void): void {
  const file = new AtomicFile(path, folder, ".");
  try {
    fill(file);
    file.commit();
  } finally {
    file.discard();
  }
}
