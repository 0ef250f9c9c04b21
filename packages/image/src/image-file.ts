/** The image file: reading, checking and writing. */

import type { Image } from "./types.ts";

/** Opens and verifies an image file; blobs kept in the store are looked up in `store`. */
export function openImage(_path: string, _options: { readonly store?: string } = {}): Promise<Image> {
  throw new Error("not built yet");
}

/** Writes an image with all its blobs into one file, atomically. */
export function writeImageFile(_image: Image, _output: string): Promise<void> {
  throw new Error("not built yet");
}
