/**
 * An OCI image layout as something that files are found in: a directory, or a
 * tar archive that is read where it lies. Nothing in it is trusted.
 */

import { closeSync, fstatSync, lstatSync, openSync, readSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { sporeError } from "@spore/errors";
import { MANIFEST_TYPE } from "./media-types.ts";
import { HUGE, PAGE } from "./memory-map.ts";
import { checkLayoutVersion, type Descriptor, DocumentError, LIMITS, sha256Of } from "./oci.ts";
import { looksLikeTar, readTar, TarError } from "./tar.ts";
import type { Blob, BlobPlace } from "./types.ts";

/** Files of a layout. */
export interface Layout {
  /** File or directory it was opened from. */
  readonly path: string;
  /** The manifest that is meant; null: the one that the index names. */
  readonly manifest: Descriptor | null;
  /** Where a file of the layout lies, if it is there. */
  find(name: string): (BlobPlace & { readonly size: number }) | null;
}

/** Bytes that tell what a file is. */
export const START_LENGTH = 512;

/** True if a file with this name and first bytes holds an image. */
export function looksLikeImage(path: string, start: Uint8Array): boolean {
  return looksLikeTar(start) || isManifestBlob(path, start);
}

/** True if a directory is an image layout. */
export function isLayoutFolder(path: string): boolean {
  return lstatSync(join(path, "oci-layout"), { throwIfNoEntry: false })?.isFile() === true;
}

/** Opens a layout: a directory, an archive, or a manifest in the blobs of a directory. */
export function openLayout(path: string): Layout {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory()) return folderLayout(path, path, null);
  const fd = openForReading(path);
  try {
    const start = readAt(fd, 0, START_LENGTH);
    if (!isManifestBlob(path, start)) return archiveLayout(path, fd);
    const digest = `sha256:${basename(path)}`;
    const { size } = fstatSync(fd);
    return folderLayout(path, dirname(dirname(dirname(path))), { mediaType: MANIFEST_TYPE, digest, size });
  } finally {
    closeSync(fd);
  }
}

/** Reads a blob that is a document; its length and digest are those of the descriptor. */
export function readDocument(layout: Layout, { digest, size }: Descriptor, limit: number): string {
  if (size > limit) throw new DocumentError(`${digest} is larger than any that is written`);
  const bytes = readFile(layout, blobName(digest), limit);
  if (bytes.length !== size || sha256Of(bytes) !== digest.slice("sha256:".length)) {
    throw new DocumentError(`${digest} has changed`);
  }
  return bytes.toString("utf8");
}

/** Reads the index of a layout and checks that it is one. */
export function readIndex(layout: Layout): string {
  checkLayoutVersion(readFile(layout, "oci-layout", START_LENGTH).toString("utf8"));
  return readFile(layout, "index.json", LIMITS.index).toString("utf8");
}

/** Name of a blob in a layout. */
export function blobName(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** Where a blob has to begin in a file to be mapped from there. */
export function alignmentOf(blob: Blob): number {
  if (blob.kind !== "layer") return 1;
  return blob.length >= HUGE ? HUGE : PAGE;
}

/** Reads exactly `length` bytes, or says what is cut short. */
export function readExactly(place: BlobPlace, length: number, what: string): Buffer {
  const fd = openForReading(place.path);
  try {
    const bytes = readAt(fd, place.offset, length);
    if (bytes.length < length) throw new DocumentError(`${what} is cut short`);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** Opens a file; one that is not there is a target not found. */
export function openForReading(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw sporeError("SPORE_TARGET_NOT_FOUND", { target: path }, { cause: error });
  }
}

/** The layout of a folder; `path` is what the user named. */
export function folderLayout(path: string, folder: string, manifest: Descriptor | null): Layout {
  return {
    path,
    manifest,
    find(name) {
      const file = join(folder, name);
      // Links, pipes and devices are not followed or opened, whoever put them there.
      const stat = lstatSync(file, { throwIfNoEntry: false });
      return stat?.isFile() ? { path: file, offset: 0, size: stat.size } : null;
    },
  };
}

function archiveLayout(path: string, fd: number): Layout {
  let entries: ReturnType<typeof readTar>;
  try {
    entries = readTar((offset, length) => readAt(fd, offset, length), fstatSync(fd).size);
  } catch (error) {
    throw error instanceof TarError ? new DocumentError(error.message) : error;
  }
  const byName = new Map(entries.map(({ name, offset, size }) => [name, { path, offset, size }]));
  return { path, manifest: null, find: (name) => byName.get(name) ?? null };
}

/** A manifest that lies among the blobs of a layout (of the store, say) under its digest. */
function isManifestBlob(path: string, start: Uint8Array): boolean {
  const folder = dirname(path);
  return (
    start[0] === 0x7b &&
    /^[0-9a-f]{64}$/.test(basename(path)) &&
    basename(folder) === "sha256" &&
    basename(dirname(folder)) === "blobs"
  );
}

function readFile(layout: Layout, name: string, limit: number): Buffer {
  const place = layout.find(name);
  if (place === null) throw new DocumentError(`it has no ${name}`);
  if (place.size > limit) throw new DocumentError(`${name} is larger than any that is written`);
  return readExactly(place, place.size, name);
}

function readAt(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const count = readSync(fd, bytes, done, length - done, offset + done);
    if (count === 0) break;
    done += count;
  }
  return bytes.subarray(0, done);
}
