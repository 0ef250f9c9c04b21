/** Writes images to disk, for the standard tools, and into memory. */
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ImagePlan, ImageSource } from "../src/index.ts";

/** A temporary folder; call `remove` when done. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "spore-erofs-"));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

export function writeToFile(plan: ImagePlan, path: string): void {
  const file = openSync(path, "w");
  try {
    plan.write((offset, bytes) => writeSync(file, bytes, 0, bytes.length, offset));
  } finally {
    closeSync(file);
  }
}

export function writeToMemory(plan: ImagePlan): Uint8Array {
  const image = new Uint8Array(plan.size);
  plan.write((offset, bytes) => image.set(bytes, offset));
  return image;
}

export function sourceOf(image: Uint8Array): ImageSource {
  return { size: image.length, read: (offset, length) => image.subarray(offset, offset + length) };
}

/** Extracts an image with Debian's tool, which also checks it. */
export function extract(image: string, into: string): void {
  execFileSync("fsck.erofs", [`--extract=${into}`, "--no-preserve-owner", image], { stdio: "pipe" });
}
