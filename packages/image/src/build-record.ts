/**
 * Knowing an unchanged target again: every path that a build looked at, as
 * `stat` saw it, and the image that came out. The second run only stats.
 */

import { createHash } from "node:crypto";
import { type BigIntStats, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Store } from "./store.ts";
import type { BuildResult, Decision, PatchedObject, TargetKind } from "./types.ts";

/** Changes whenever records of older builders must not be believed. */
const RECORD_VERSION = 2;

/** What a finished build leaves behind. */
export interface BuildRecord {
  /** Path of the image file. */
  readonly image: string;
  readonly kind: TargetKind;
  readonly decisions: readonly Decision[];
  readonly patches: readonly PatchedObject[];
}

/** Collects the paths that a build depends on. */
export class Inputs {
  readonly #seen: Map<string, string> = new Map();
  readonly #started: number = Date.now();

  /** Notes a path as it is now, or that it is not there; gives what was seen of it first. */
  add(path: string): string {
    const known = this.#seen.get(path);
    if (known !== undefined) return known;
    const seen = fingerprint(path);
    this.#seen.set(path, seen);
    return seen;
  }

  /** True if an input was written after this build began: what was built may be older than it. */
  get moved(): boolean {
    return [...this.#seen.keys()].some((path) => {
      const stat = statOf(path);
      return stat !== undefined && stat.mtimeMs >= this.#started;
    });
  }

  /** Path and fingerprint of each, in a fixed order. */
  entries(): [string, string][] {
    return [...this.#seen].sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

/**
 * Name of the record for a set of options (anything that JSON can hold, in a fixed order). Builders
 * that share a store do not read one another's: each only knows whether its own sources have changed.
 */
export function recordKey(options: unknown): string {
  return createHash("sha256")
    .update(JSON.stringify([RECORD_VERSION, import.meta.url, options]))
    .digest("hex");
}

/** The record, if there is one and nothing that went into it has changed. */
export function findRecord(store: Store, key: string): BuildRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(recordPath(store, key), "utf8"));
  } catch {
    return null;
  }
  if (!isStored(value)) return null;
  for (const [path, seen] of value.inputs) {
    if (fingerprint(path) !== seen) return null;
  }
  return value.record;
}

/** Path of the record with that key. */
export function recordPath(store: Store, key: string): string {
  return join(store.builds, `${key}.json`);
}

/**
 * Path and fingerprint of everything that a result was built from; for an image
 * that was given, nothing but itself. null: that was not recorded.
 */
export function buildInputs(
  result: Pick<BuildResult, "image" | "record">,
): readonly (readonly [string, string])[] | null {
  if (result.record === null) return [];
  try {
    const value: unknown = JSON.parse(readFileSync(result.record, "utf8"));
    // A build beside this one may have left another.
    return isStored(value) && value.record.image === result.image.path ? value.inputs : null;
  } catch {
    return null;
  }
}

/** Keeps a record, unless the inputs changed while they were read. */
export async function keepRecord(
  store: Store,
  key: string,
  inputs: Inputs,
  record: BuildRecord,
): Promise<void> {
  if (inputs.moved) return;
  const { writeRecord } = await import("./atomic-file.ts");
  writeRecord(recordPath(store, key), store.tmp, { inputs: inputs.entries(), record });
}

/** Notes the builder's own modules: another version of them may build something else. */
export function addBuilderSources(inputs: Inputs): void {
  for (const name of ["image", "elf", "erofs", "linker", "needs", "patch"]) {
    inputs.add(fileURLToPath(new URL(`../../${name}/package.json`, import.meta.url)));
    const folder = fileURLToPath(new URL(`../../${name}/src/`, import.meta.url));
    for (const file of namesIn(folder)) {
      if (file.endsWith(".ts") && !file.endsWith(".test.ts")) inputs.add(join(folder, file));
    }
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: "utf8" });
  } catch {
    return [];
  }
}

/**
 * What `stat` says of a path, as far as a change would show in it. The time of
 * the last change of any kind cannot be set back, as that of the content can.
 */
export function fingerprint(path: string): string {
  const stat = statOf(path);
  if (!stat) return "absent";
  if (stat.isDirectory()) return `dir:${stat.mtimeNs}:${stat.ino}`;
  return `${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}:${stat.ino}`;
}

/** undefined for what is not there; a link that leads in a circle leads nowhere. */
function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ELOOP") return undefined;
    throw error;
  }
}

function isStored(value: unknown): value is { inputs: [string, string][]; record: BuildRecord } {
  if (typeof value !== "object" || value === null) return false;
  if (!("inputs" in value) || !Array.isArray(value.inputs) || !("record" in value)) return false;
  const record = value.record;
  return (
    typeof record === "object" && record !== null && "image" in record && typeof record.image === "string"
  );
}
