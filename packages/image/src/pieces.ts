/** A run with other pieces of the library OS than its image holds. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { needsOf } from "./document.ts";
import { defaultStore, prepareStore, storeAt } from "./store.ts";
import type { Image } from "./types.ts";

/** What a run asks for that its image does not say. */
export interface MorePieces {
  /** Everything. */
  readonly full: boolean;
  /** Pieces by name. */
  readonly pieces: readonly string[];
  /** Pieces that are left out. */
  readonly without: readonly string[];
}

const EVERYTHING = { everything: true, calls: [], services: [], pieces: [], without: [], back: [] };

/** The file with the symbols of an image's library OS, if it was linked here. */
export function kernelSymbols({ kernel }: Image, root?: string): string | undefined {
  const path = join(storeAt(root ?? defaultStore()).links, `${kernel.sha256}.elf`);
  return existsSync(path) ? path : undefined;
}

/** The image with a library OS of other pieces; linked now, of the same archive. */
export async function withPieces(
  image: Image,
  more: MorePieces,
  archive: string,
  root?: string,
): Promise<Image> {
  if (!more.full && more.pieces.length + more.without.length === 0) return image;
  // Most runs need none of this.
  const { storeKernel } = await import("./kernel-blob.ts");
  const { pieceName, wishesOf } = await import("./wishes.ts");
  const needs = needsOf(image);
  const store = storeAt(root ?? defaultStore());
  prepareStore(store);
  const own = needs && !more.full ? wishesOf(needs) : EVERYTHING;
  const pieces = more.pieces.map(pieceName);
  const wishes = {
    ...own,
    back: pieces,
    without: [...own.without, ...more.without.map(pieceName)],
  };
  return { ...image, kernel: (await storeKernel(archive, wishes, store)).blob };
}
