/** What an app needs of the library OS, from the programs and libraries in its image. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type AppObject,
  deriveNeeds,
  type Needs,
  type Passed,
  type PiecesMode,
  passedArguments,
  profilesOf,
  type Recording,
  recordedNeeds,
  type Summary,
  summarise,
} from "@spore/needs";
import { writeWhole } from "./atomic-file.ts";
import { fingerprint } from "./build-record.ts";
import type { LayerObject } from "./guest-tree.ts";
import { guarded } from "./program-file.ts";
import type { Store } from "./store.ts";
import type { Decision, PatchedObject } from "./types.ts";

/** What the objects of an image need, or what is remembered of it. `mode`: how pieces are chosen. */
export function findNeeds(
  objects: readonly LayerObject[],
  patches: readonly PatchedObject[],
  mode: PiecesMode,
  recording: Recording | undefined,
  store: Store,
  decisions: Decision[],
): Needs {
  const jumps = new Map(patches.map(({ object, counts }) => [object, counts.syscall.patched]));
  const seen = objects.map(({ path, host }) => [path, host, fingerprint(host), jumps.get(path) ?? 0]);
  const needs = kept(store, ["derived", seen, mode, recording ?? null], () =>
    derive(objects, jumps, mode, recording, store),
  );
  decisions.push({
    topic: "needs",
    what: needs.everything.length > 0 ? "everything" : `${needs.calls.length} system calls`,
    why: reasonFor(needs),
  });
  return needs;
}

/** Reads the objects, or remembers what each showed, and derives the needs. */
function derive(
  objects: readonly LayerObject[],
  jumps: ReadonlyMap<string, number>,
  mode: PiecesMode,
  recording: Recording | undefined,
  store: Store,
): Needs {
  const isLibc = ({ path }: LayerObject): boolean => /^(libc\.so|libc\.musl|ld-|libc-)/.test(basename(path));
  const read = (object: LayerObject, passed: Readonly<Record<string, Passed>>): AppObject => {
    return {
      path: object.path,
      summary: summaryOf(object.host, passed, store),
      patched: jumps.get(object.path) ?? 0,
    };
  };
  // What the C library takes from its callers tells what to look for in them.
  const own = objects.filter(isLibc).map((object) => read(object, {}));
  const passed = passedArguments(own.map(({ summary }) => summary));
  const others = objects.filter((object) => !isLibc(object)).map((object) => read(object, passed));
  const derived = deriveNeeds([...others, ...own], profilesOf(objects.map(({ path }) => path)));
  return recording ? recordedNeeds(recording, derived.sites) : { ...derived, mode };
}

function reasonFor({ mode, everything }: Needs): string {
  const [first] = everything;
  if (first?.kind === "unknown") return first.why;
  return mode === "recorded" ? "the recording says so" : "what its code leads to";
}

/** What a file shows, looked for once. */
function summaryOf(host: string, passed: Readonly<Record<string, Passed>>, store: Store): Summary {
  return kept(store, [host, fingerprint(host), passed], () =>
    guarded(host, () => summarise(readFileSync(host), passed)),
  );
}

/** The answer to a question (anything that JSON can hold, in a fixed order), found once. */
function kept<T>(store: Store, question: unknown, find: () => T): T {
  const key = createHash("sha256")
    .update(JSON.stringify([readerVersion(), question]))
    .digest("hex");
  const path = join(store.needs, `${key}.json`);
  try {
    return JSON.parse(readFileSync(path, "utf8")) as T;
  } catch {
    const found = find();
    writeWhole(path, store.tmp, JSON.stringify(found));
    return found;
  }
}

let version: string | undefined;

/** The reader's own sources and data: other ones may find something else. */
function readerVersion(): string {
  if (version !== undefined) return version;
  const hash = createHash("sha256");
  const needs = ["needs/src/", "needs/src/code/", "needs/src/generated/", "needs/profiles/"];
  for (const folder of ["elf/src/", "patch/src/", ...needs]) {
    const path = fileURLToPath(new URL(`../../${folder}`, import.meta.url));
    const sources = readdirSync(path).filter(
      (file) => /\.(ts|json)$/.test(file) && !file.endsWith(".test.ts"),
    );
    for (const file of sources.sort()) hash.update(file).update(readFileSync(join(path, file)));
  }
  version = hash.digest("hex");
  return version;
}
