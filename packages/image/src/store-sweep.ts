/** Keeps the store from growing with every change of an app. */

import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { openLayout, readDocument } from "./blob-layout.ts";
import { findRecord } from "./build-record.ts";
import { LIMITS, type OciManifest, parseManifest } from "./oci.ts";
import type { Store } from "./store.ts";

const HOUR_MS = 3_600_000;
/** A younger file may belong to a build or a start that is under way. */
const KEPT_MS: number = HOUR_MS;
/** A target that changed, and was not built for so long since, is forgotten. */
const RECORD_MS: number = 90 * 24 * HOUR_MS;

/** Sweeps the store unless that was done within the hour: a build that follows an edit has better things to do. */
export function sweepSometimes(store: Store): void {
  const mark = join(store.root, "swept");
  const last = statSync(mark, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (Math.abs(Date.now() - last) < HOUR_MS) return;
  writeFileSync(mark, "");
  sweepStore(store);
}

/** Removes records that are old, and blobs that no record or name leads to. */
export function sweepStore(store: Store, now: number = Date.now()): void {
  const age = (path: string): number => now - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? now);
  const wanted = new Set<string>();
  for (const path of entriesOf(store.builds)) {
    const stale = age(path) > RECORD_MS && findRecord(store, basename(path, ".json")) === null;
    if (stale) rmSync(path, { force: true });
    else noteImage(/"image":"[^"]*\/([0-9a-f]{64})"/.exec(readFileSync(path, "utf8"))?.[1], store, wanted);
  }
  for (const path of entriesOf(store.kept)) noteImage(readFileSync(path, "utf8").trim(), store, wanted);
  for (const path of entriesOf(store.runtimes)) {
    if (age(path) > RECORD_MS) rmSync(path, { force: true });
    else wanted.add(/"blob":\{[^}]*"sha256":"([^"]+)"/.exec(readFileSync(path, "utf8"))?.[1] ?? "");
  }
  for (const folder of [store.links, store.needs, store.traces, store.patches]) {
    for (const path of entriesOf(folder)) if (age(path) > RECORD_MS) rmSync(path, { force: true });
  }
  // What was written within the hour may be an image whose record comes next.
  for (const path of entriesOf(store.blobs)) {
    if (age(path) <= KEPT_MS && isSmall(path)) noteImage(basename(path), store, wanted);
  }
  for (const path of entriesOf(store.blobs)) {
    if (!wanted.has(basename(path)) && age(path) > KEPT_MS) rmSync(path, { force: true });
  }
  for (const folder of entriesOf(store.referrers)) {
    if (!existsSync(join(store.blobs, basename(folder)))) rmSync(folder, { recursive: true, force: true });
  }
}

/** Notes an image, its blobs, and what refers to it with theirs. */
function noteImage(digest: string | undefined, store: Store, wanted: Set<string>): void {
  if (digest === undefined || wanted.has(digest)) return;
  const parts = partsOfImage(store, digest);
  if (parts === null) return;
  wanted.add(digest);
  for (const part of parts) wanted.add(part);
  for (const path of entriesOf(join(store.referrers, digest))) noteImage(basename(path), store, wanted);
}

/** Digests of what the manifest of an image names; null if it is none. */
export function partsOfImage(store: Store, digest: string): readonly string[] | null {
  const manifest = manifestIn(store, digest);
  if (manifest === null) return null;
  return [manifest.config, ...manifest.layers].map((part) => part.digest.replace("sha256:", ""));
}

/** A manifest among the blobs; null if it is none or damaged: it keeps nothing alive. */
function manifestIn(store: Store, digest: string): OciManifest | null {
  try {
    const layout = openLayout(join(store.blobs, digest));
    return layout.manifest && parseManifest(readDocument(layout, layout.manifest, LIMITS.manifest));
  } catch {
    return null;
  }
}

function isSmall(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? Number.POSITIVE_INFINITY) <= LIMITS.manifest;
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}
