/** Keeps the store from growing with every change of an app. */

import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { findRecord } from "./build-record.ts";
import { openImageSync } from "./image-file.ts";
import type { Store } from "./store.ts";

const HOUR_MS = 3_600_000;
/** A younger file may belong to a build or a start that is under way. */
const KEPT_MS: number = HOUR_MS;
/** A target that changed, and was not built for so long since, is forgotten. */
const RECORD_MS: number = 90 * 24 * HOUR_MS;

/** Removes records that are old, and images and layers that no record leads to. */
export function sweepStore(store: Store, now: number = Date.now()): void {
  const age = (path: string): number => now - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? now);
  const images = new Set<string>();
  const layers = new Set<string>();
  for (const path of entriesOf(store.builds)) {
    const stale = age(path) > RECORD_MS && findRecord(store, basename(path, ".json")) === null;
    if (stale) rmSync(path, { force: true });
    else note(path, /"image":"([^"]+)"/, images);
  }
  for (const path of entriesOf(store.runtimes)) {
    if (age(path) > RECORD_MS) rmSync(path, { force: true });
    else note(path, /"blob":\{[^}]*"path":"([^"]+)"/, layers);
  }
  for (const path of entriesOf(store.images)) {
    if (!images.has(path) && age(path) > KEPT_MS) rmSync(path, { force: true });
    else noteLayers(path, store, layers);
  }
  for (const path of entriesOf(store.layers)) {
    if (!layers.has(path) && age(path) > KEPT_MS) rmSync(path, { force: true });
  }
}

function entriesOf(folder: string): string[] {
  return readdirSync(folder).map((name) => join(folder, name));
}

/** The path that a record names. */
function note(record: string, pattern: RegExp, paths: Set<string>): void {
  const path = pattern.exec(readFileSync(record, "utf8"))?.[1];
  if (path !== undefined) paths.add(path);
}

function noteLayers(image: string, store: Store, layers: Set<string>): void {
  try {
    const { kernel, layers: own } = openImageSync(image, store);
    for (const { path } of [kernel, ...own]) layers.add(path);
  } catch {
    // Damaged: it will be built again, and keeps nothing alive.
  }
}
