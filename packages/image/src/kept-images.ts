/** Images of the store that somebody asked to keep (a daemon's releases), by a name of theirs. */

import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { writeWhole } from "./atomic-file.ts";
import type { Store } from "./store.ts";

/** Keeps an image and what refers to it from being swept, under this name. */
export function keepImage(name: string, digest: string, store: Store): void {
  mkdirSync(store.kept, { recursive: true });
  writeWhole(fileOf(name, store), store.tmp, `${digest}\n`);
}

/** The digest that is kept under a name, if one is. */
export function keptImage(name: string, store: Store): string | null {
  try {
    return readFileSync(fileOf(name, store), "utf8").trim();
  } catch {
    return null;
  }
}

/** Gives an image up; it goes when the store is swept, unless something else leads to it. */
export function forgetImage(name: string, store: Store): void {
  rmSync(fileOf(name, store), { force: true });
}

function fileOf(name: string, store: Store): string {
  if (!/^[\w][\w.-]{0,199}$/.test(name)) throw new Error(`${JSON.stringify(name)} cannot be a name`);
  return join(store.kept, name);
}
