/** From a tree of files to an EROFS layer in the store. */

import { createHash } from "node:crypto";
import { closeSync, openSync, readSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { ErofsError, type ImagePlan, planImage } from "@spore/erofs";
import { sporeError } from "@spore/errors";
import { AtomicFile } from "./atomic-file.ts";
import type { GuestTree } from "./guest-tree.ts";
import { HUGE } from "./memory-map.ts";
import type { Store } from "./store.ts";
import type { Blob, BlobPlace } from "./types.ts";

/** A layer in the store, and where each file lies in it. */
export interface BuiltLayer {
  readonly blob: Blob & BlobPlace;
  readonly plan: ImagePlan;
}

/** Writes a tree as a layer; the same tree gives the same bytes and so the same file. */
export function buildLayer(name: string, tree: GuestTree, store: Store): BuiltLayer {
  const plan = planned(name, tree);
  const file = new AtomicFile(join(store.blobs, "unnamed"), store.tmp, "");
  try {
    const metadata = createHash("sha256");
    plan.write((offset, bytes) => {
      file.padTo(offset);
      if (offset < plan.metadataLength) metadata.update(bytes.subarray(0, plan.metadataLength - offset));
      file.write(bytes);
    });
    file.padTo(plan.size);
    const sha256 = file.digest();
    const path = join(store.blobs, sha256);
    // Kept as it is, the file stays shared with machines that run from it.
    if (isWhole(path, plan.size, sha256)) touch(path);
    else file.commit(path);
    const blob = {
      kind: "layer",
      name,
      sha256,
      length: plan.size,
      memoryLength: 0,
      metadataLength: plan.metadataLength,
      metadataSha256: metadata.digest("hex"),
      path,
      offset: 0,
    } as const;
    return { blob, plan };
  } finally {
    file.discard();
  }
}

/** Marks a file as wanted now: a sweep of the store spares what is young. */
export function touch(path: string): void {
  const now = new Date();
  utimesSync(path, now, now);
}

/** True if a sweep of the store has left a blob; spares it from the next. */
export function isThere({ path, length }: Blob & BlobPlace): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.size !== length) return false;
  touch(path);
  return true;
}

/** True if a file has these bytes. */
export function isWhole(path: string, length: number, sha256: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.size !== length) return false;
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(Math.min(Math.max(length, 1), HUGE));
  const fd = openSync(path, "r");
  try {
    for (let count = readSync(fd, buffer); count > 0; count = readSync(fd, buffer))
      hash.update(buffer.subarray(0, count));
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex") === sha256;
}

function planned(name: string, tree: GuestTree): ImagePlan {
  try {
    return planImage(tree.entries());
  } catch (error) {
    if (!(error instanceof ErofsError)) throw error;
    const problem = `the files of ${name} cannot be put into an image: ${error.message}`;
    throw sporeError("SPORE_INTERNAL", { problem }, { cause: error });
  }
}
