/**
 * The library OS of an image: linked from the chosen pieces, as what the monitor copies
 * to KERNEL_GPA, packed (packed-kernel.ts). What was linked once is found again by what it was
 * linked from.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { sporeError } from "@spore/errors";
import type { LinkedKernel, Wishes } from "@spore/linker";
import { writeRecord, writeWhole } from "./atomic-file.ts";
import { fingerprint } from "./build-record.ts";
import { isWhole, touch } from "./layer.ts";
import { KERNEL_END, KERNEL_GPA, KERNEL_VA } from "./memory-map.ts";
import { packKernel } from "./packed-kernel.ts";
import type { Store } from "./store.ts";
import type { Blob, BlobPlace, Piece } from "./types.ts";

/** First bytes of the header page. */
const MAGIC = "SPOREKRN";
/** Changes whenever kernels of an older linker must not be used. */
const LINK_VERSION = 6;
/** So many of a piece's parts are named: the largest tell most of its size. */
const NAMED_PARTS = 4;
/** And so many of what cannot work without it. */
const NAMED_USERS = 16;

/** What is remembered of a link. */
interface LinkRecord {
  readonly sha256: string;
  readonly length: number;
  readonly memoryLength: number;
  readonly pieces: readonly Piece[];
}

/** A linked library OS, and what each of its pieces brought along. */
export interface StoredKernel {
  readonly blob: Blob & BlobPlace;
  readonly pieces: readonly Piece[];
}

/** Puts the kernel with what an app wishes for into the store. */
export async function storeKernel(archive: string, wishes: Wishes, store: Store): Promise<StoredKernel> {
  const seen = fingerprint(archive);
  const key = createHash("sha256")
    .update(JSON.stringify([LINK_VERSION, wishes, archive, seen]))
    .digest("hex");
  const record = join(store.links, `${key}.json`);
  const known = readRecord(record);
  if (known && isWhole(join(store.blobs, known.sha256), known.length, known.sha256)) {
    touch(record);
    touch(join(store.blobs, known.sha256));
    return { blob: blobOf(known, store), pieces: known.pieces };
  }
  const { image, elf, memoryLength, pieces: reports } = await linked(archive, wishes);
  const packed = packKernel(image);
  const sha256 = createHash("sha256").update(packed).digest("hex");
  const pieces = reports.map(({ parts, ...piece }) => {
    return {
      ...piece,
      with: piece.with.slice(0, NAMED_USERS),
      count: parts.length,
      parts: parts.slice(0, NAMED_PARTS),
    };
  });
  const linkRecord = { sha256, length: packed.length, memoryLength, pieces };
  writeWhole(join(store.blobs, sha256), store.tmp, packed);
  // With symbols, for debuggers; named after what runs.
  writeWhole(join(store.links, `${sha256}.elf`), store.tmp, elf);
  // Replaced meanwhile, it may have been another one that was read.
  if (fingerprint(archive) === seen) writeRecord(record, store.tmp, linkRecord);
  return { blob: blobOf(linkRecord, store), pieces };
}

function readArchive(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw sporeError("SPORE_NOT_BUILT", { what: "the library OS", path }, { cause: error });
  }
}

async function linked(path: string, wishes: Wishes): Promise<LinkedKernel> {
  const bytes = readArchive(path);
  const { ElfError } = await import("@spore/elf");
  const { choose, LinkError, link, parse } = await import("@spore/linker");
  try {
    const input = parse(bytes);
    const window = { address: KERNEL_VA, length: KERNEL_END - KERNEL_GPA };
    const kernel = link(input, choose(input.catalogue, wishes), window);
    if (new TextDecoder("latin1").decode(kernel.image.subarray(0, MAGIC.length)) !== MAGIC) {
      throw new LinkError("bad-catalogue", "the kernel does not begin with its header page");
    }
    return kernel;
  } catch (error) {
    if (!(error instanceof LinkError || error instanceof ElfError)) throw error;
    if (error.reason === "unknown-piece") {
      throw sporeError("SPORE_PIECE_UNKNOWN", { problem: error.message }, { cause: error });
    }
    if (error.reason === "piece-conflict") {
      throw sporeError("SPORE_PIECE_CONFLICT", { problem: error.message }, { cause: error });
    }
    throw sporeError("SPORE_KERNEL_DAMAGED", { file: path, problem: error.message }, { cause: error });
  }
}

function readRecord(path: string): LinkRecord | null {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is LinkRecord {
  if (typeof value !== "object" || value === null) return false;
  const { sha256, length, memoryLength, pieces } = value as Record<string, unknown>;
  return (
    Array.isArray(pieces) &&
    typeof sha256 === "string" &&
    /^[0-9a-f]{64}$/.test(sha256) &&
    typeof length === "number" &&
    typeof memoryLength === "number"
  );
}

function blobOf({ sha256, length, memoryLength }: LinkRecord, store: Store): Blob & BlobPlace {
  return {
    kind: "kernel",
    name: "kernel",
    sha256,
    length,
    memoryLength,
    metadataLength: length,
    metadataSha256: sha256,
    path: join(store.blobs, sha256),
    offset: 0,
  };
}
