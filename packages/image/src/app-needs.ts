/** What an app needs of the library OS, from the programs and libraries in its image. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { SporeError } from "@spore/errors";
import type {
  AppObject,
  Needs,
  Passed,
  PiecesMode,
  Reason,
  Recording,
  SiteCount,
  Summary,
} from "@spore/needs";
import { writeRecord } from "./atomic-file.ts";
import { fingerprint } from "./build-record.ts";
import type { LayerObject } from "./guest-tree.ts";
import { guarded, parseFor } from "./program-file.ts";
import type { Store } from "./store.ts";
import type { Decision, PatchedObject } from "./types.ts";

/** What the objects of an image need, or what is remembered of it. `mode`: how pieces are chosen. */
export async function findNeeds(
  objects: readonly LayerObject[],
  patches: readonly PatchedObject[],
  mode: PiecesMode,
  recording: Recording | undefined,
  store: Store,
  decisions: Decision[],
): Promise<Needs> {
  const jumps = new Map(patches.map(({ object, counts }) => [object, counts.syscall.patched]));
  const seen = objects.map(({ path, host }) => [path, host, fingerprint(host), jumps.get(path) ?? 0]);
  const found = await kept(store, ["derived", seen, mode, recording ?? null], () =>
    derive(objects, jumps, mode, recording, store),
  );
  const needs = { ...found, sites: withCpuid(found.sites, patches) };
  decisions.push({
    topic: "needs",
    what: needs.everything.length > 0 ? "everything" : `${needs.calls.length} system calls`,
    why: reasonFor(needs),
  });
  return needs;
}

/** The counts of system-call instructions, with those of `cpuid`. */
function withCpuid(known: readonly SiteCount[], patches: readonly PatchedObject[]): SiteCount[] {
  const counts = new Map<string, SiteCount>(known.map((each) => [each.object, each]));
  for (const { object, counts: found } of patches) {
    const { sites, patched } = found.cpuid;
    if (sites === 0) continue;
    counts.set(object, {
      ...(counts.get(object) ?? { object, sites: 0, patched: 0 }),
      cpuid: { sites, patched },
    });
  }
  return [...counts.values()];
}

/** Reads the objects, or remembers what each showed, and derives the needs. */
async function derive(
  objects: readonly LayerObject[],
  jumps: ReadonlyMap<string, number>,
  mode: PiecesMode,
  recording: Recording | undefined,
  store: Store,
): Promise<Needs> {
  const { deriveNeeds, passedArguments, profilesOf, recordedNeeds, summarise } = await import("@spore/needs");
  const isLibc = ({ path }: LayerObject): boolean => /^(libc\.so|libc\.musl|ld-|libc-)/.test(basename(path));
  const unread: Reason[] = [];
  // What a file shows is looked for once.
  const read = async (
    { path, host }: LayerObject,
    passed: Readonly<Record<string, Passed>>,
  ): Promise<AppObject[]> => {
    try {
      const summary = await kept<Summary>(store, [host, fingerprint(host), passed], async () => {
        const bytes = readFileSync(host);
        parseFor(host, bytes);
        return guarded(host, () => summarise(bytes, passed));
      });
      return [{ path, summary, patched: jumps.get(path) ?? 0 }];
    } catch (error) {
      if (!(error instanceof SporeError)) throw error;
      // The program itself was read before; what came along may be for another machine, or damaged.
      if (error.code === "SPORE_ELF_INVALID") {
        unread.push({ kind: "unknown", object: path, why: `${path} cannot be read` });
      } else if (error.code !== "SPORE_ELF_MACHINE") throw error;
      return [];
    }
  };
  const readAll = async (chosen: readonly LayerObject[], passed: Readonly<Record<string, Passed>>) => {
    const result: AppObject[] = [];
    for (const object of chosen) result.push(...(await read(object, passed)));
    return result;
  };
  // What the C library takes from its callers tells what to look for in them.
  const own = await readAll(objects.filter(isLibc), {});
  const passed = passedArguments(own.map(({ summary }) => summary));
  const others = await readAll(
    objects.filter((object) => !isLibc(object)),
    passed,
  );
  const found = deriveNeeds([...others, ...own], profilesOf([...others, ...own]));
  const derived = { ...found, everything: [...found.everything, ...unread] };
  return recording ? recordedNeeds(recording, derived.sites) : { ...derived, mode };
}

function reasonFor({ mode, everything }: Needs): string {
  const [first] = everything;
  if (first?.kind === "unknown") return first.why;
  return mode === "recorded" ? "the recording says so" : "what its code leads to";
}

/** The answer to a question (anything that JSON can hold, in a fixed order), found once. */
async function kept<T>(store: Store, question: unknown, find: () => Promise<T>): Promise<T> {
  const key = createHash("sha256")
    .update(JSON.stringify([readerVersion(), question]))
    .digest("hex");
  const path = join(store.needs, `${key}.json`);
  try {
    return JSON.parse(readFileSync(path, "utf8")) as T;
  } catch {
    const found = await find();
    writeRecord(path, store.tmp, found);
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
