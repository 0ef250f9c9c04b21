/** A run with more pieces of the library OS than its image holds. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { needsOf } from "./document.ts";
import { defaultStore, prepareStore, storeAt } from "./store.ts";
import type { Image } from "./types.ts";

/** What a run asks for beyond what its image holds. */
export interface MorePieces {
  /** Everything. */
  readonly full: boolean;
  /** Pieces by name. */
  readonly pieces: readonly string[];
}

/** The file with the symbols of an image's library OS, if it was linked here. */
export function kernelSymbols({ kernel }: Image, root?: string): string | undefined {
  const path = join(storeAt(root ?? defaultStore()).links, `${kernel.sha256}.elf`);
  return existsSync(path) ? path : undefined;
}

/** The image with a library OS that has more pieces; linked now, of the same archive. */
export async function withPieces(
  image: Image,
  more: MorePieces,
  archive: string,
  root?: string,
): Promise<Image> {
  if (!more.full && more.pieces.length === 0) return image;
  // Most runs need none of this.
  const { storeKernel } = await import("./kernel-blob.ts");
  const { wishesOf } = await import("./wishes.ts");
  const needs = needsOf(image);
  const wishes = needs && !more.full ? wishesOf(needs) : null;
  const store = storeAt(root ?? defaultStore());
  prepareStore(store);
  const all = wishes && { ...wishes, pieces: [...wishes.pieces, ...more.pieces] };
  return { ...image, kernel: (await storeKernel(archive, all, store)).blob };
}
