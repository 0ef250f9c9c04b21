/**
 * The image file: reading and checking (image-writer.ts writes it).
 *
 *   0     header page: magic, version, table place, length of the file, digests
 *   4096  table: JSON, padded with spaces to whole pages
 *   ...   blobs, each at a multiple of 2 MiB (4 KiB if shorter than 2 MiB)
 *
 * A blob is in the file or, in the store, named by its digest. The header page
 * carries its own digest and that of the table, the table that of each blob's
 * metadata (for the kernel: of all its bytes), so that no damaged structure is
 * ever followed. File contents are not read at a start; `sha256` covers them.
 */

import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join, resolve } from "node:path";
import { sporeError } from "@spore/errors";
import {
  HEADER,
  MAGIC,
  parseTable,
  type StoredBlob,
  type StoredImage,
  TABLE_LIMIT,
  VERSION,
} from "./image-table.ts";
import { PAGE } from "./memory-map.ts";
import { defaultStore, type Store, storeAt } from "./store.ts";
import type { Blob, BlobPlace, Image } from "./types.ts";

/** What goes into an image file. */
export type ImageContent = Omit<Image, "path" | "digest">;

/** True if the bytes begin like an image file. */
export function looksLikeImage(start: Uint8Array): boolean {
  return Buffer.from(start.subarray(0, MAGIC.length)).toString("latin1") === MAGIC;
}

/** Opens and verifies an image file; blobs kept in the store are looked up in `store`. */
export async function openImage(path: string, options: { readonly store?: string } = {}): Promise<Image> {
  return openImageSync(resolve(path), storeAt(options.store ?? defaultStore()));
}

/** `openImage` for those who have a store at hand. */
export function openImageSync(path: string, store: Store): Image {
  const fd = openForReading(path);
  try {
    const size = fstatSync(fd).size;
    const { table, digest } = readTable(fd, path, size);
    const kernel = locate(table.kernel, "the kernel", fd, path, size, store);
    const layers = table.layers.map((blob, index) => locate(blob, `layer ${index}`, fd, path, size, store));
    const { kind, name, program, defaults } = table;
    return { path, digest, kind, name, program, defaults, kernel, layers };
  } finally {
    closeSync(fd);
  }
}

/** Checks header and table and reads the table. */
function readTable(fd: number, path: string, size: number): { table: StoredImage; digest: string } {
  const header = Buffer.alloc(PAGE);
  const got = readSync(fd, header, 0, PAGE, 0);
  if (got < 8 || !looksLikeImage(header)) throw wrongFormat(path, "no image header");
  if (got < PAGE) throw damaged(path, "the header is cut short");
  const version = header.readUInt32LE(HEADER.version);
  if (version !== VERSION) throw wrongFormat(path, String(version));
  const stated = Buffer.from(header.subarray(HEADER.headerSha, HEADER.headerSha + 32));
  header.fill(0, HEADER.headerSha, HEADER.headerSha + 32);
  if (!createHash("sha256").update(header).digest().equals(stated))
    throw damaged(path, "the header has changed");
  const offset = Number(header.readBigUInt64LE(HEADER.tableOffset));
  const length = Number(header.readBigUInt64LE(HEADER.tableLength));
  const fileLength = Number(header.readBigUInt64LE(HEADER.fileLength));
  if (size !== fileLength) throw damaged(path, `it has ${size} bytes instead of ${fileLength}`);
  if (length > TABLE_LIMIT || offset + length > size) throw damaged(path, "the table lies outside the file");
  const table = readExactly(fd, path, offset, length, "the table");
  const digest = createHash("sha256").update(table).digest();
  if (!digest.equals(header.subarray(HEADER.tableSha, HEADER.tableSha + 32))) {
    throw damaged(path, "the table has changed");
  }
  const parsed = parseTable(table.toString("utf8"));
  if (parsed === null) throw wrongFormat(path, "an unknown table");
  return { table: parsed, digest: digest.toString("hex") };
}

/** Finds a blob and checks its metadata. */
function locate(
  blob: StoredBlob,
  what: string,
  fd: number,
  path: string,
  size: number,
  store: Store,
): Blob & BlobPlace {
  const { offset, ...fields } = blob;
  const label = `${what} (${blob.name})`;
  if (offset !== null) {
    if (offset + blob.length > size) throw damaged(path, `${label} lies outside the file`);
    checkMetadata(fd, path, offset, blob, label);
    return { ...fields, path, offset };
  }
  const away = join(store.layers, blob.sha256);
  let awayFd: number;
  try {
    awayFd = openSync(away, "r");
  } catch (error) {
    throw damaged(path, `${label} is not in the store`, error);
  }
  try {
    if (fstatSync(awayFd).size !== blob.length) throw damaged(away, `${label} has another length`);
    checkMetadata(awayFd, away, 0, blob, label);
  } finally {
    closeSync(awayFd);
  }
  return { ...fields, path: away, offset: 0 };
}

function checkMetadata(fd: number, path: string, offset: number, blob: StoredBlob, label: string): void {
  const bytes = readExactly(fd, path, offset, blob.metadataLength, label);
  const digest = createHash("sha256").update(bytes).digest("hex");
  if (digest !== blob.metadataSha256) throw damaged(path, `${label} has changed`);
}

function readExactly(fd: number, path: string, offset: number, length: number, label: string): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const count = readSync(fd, bytes, done, length - done, offset + done);
    if (count === 0) throw damaged(path, `${label} is cut short`);
    done += count;
  }
  return bytes;
}

/** Opens a file; one that is not there is a target not found. */
export function openForReading(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw sporeError("SPORE_TARGET_NOT_FOUND", { target: path }, { cause: error });
  }
}

/** The error of a part that is not what it was. */
export function damaged(file: string, problem: string, cause?: unknown): Error {
  return sporeError("SPORE_IMAGE_DAMAGED", { file, problem }, { cause });
}

function wrongFormat(file: string, found: string): Error {
  return sporeError("SPORE_IMAGE_FORMAT", { file, found, expected: VERSION });
}
