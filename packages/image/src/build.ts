/** Entry of the builder: resolve the target, reuse or build, open the image. */

import { realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { sporeError } from "@spore/errors";
import { isLayoutFolder, looksLikeImage, START_LENGTH } from "./blob-layout.ts";
import { addBuilderSources, findRecord, Inputs, keepRecord, recordKey, recordPath } from "./build-record.ts";
import { readStart } from "./host-file.ts";
import { isMappable, openImageSync } from "./image-file.ts";
import type { ResolvedBuild } from "./resolved-build.ts";
import { defaultStore, prepareStore, type Store, storeAt } from "./store.ts";
import type { BuildOptions, BuildResult, Decision, Image, TargetKind } from "./types.ts";

/** Builds the image of a target, or finds it unchanged in the store. */
export async function buildImage(options: BuildOptions): Promise<BuildResult> {
  const started = performance.now();
  const store = storeAt(options.store ?? defaultStore());
  const target = resolve(options.base ?? process.cwd(), options.target);
  const kind = targetKind(target, options.target);
  if (kind === "image") {
    const opened = openImageSync(target, store);
    // Written by another tool, its blobs lie anywhere in the archive: they are copied out once.
    const image = isMappable(opened)
      ? opened
      : (await import("./image-import.ts")).importImage(opened, store);
    const decisions = [{ topic: "target", what: target, why: "an image that was built before" }];
    const ms = performance.now() - started;
    return { image, kind, reused: true, ms, record: null, decisions, patches: [] };
  }
  const patch = options.patch ?? true;
  const build: ResolvedBuild = { options, target, kernel: options.kernel ?? defaultKernel(), patch, store };
  const key = keyOf(build);
  const record = recordPath(store, key);
  const known = options.fresh ? null : reuse(store, key);
  if (known) return { ...known, ms: performance.now() - started, record };
  const made = await construct(build, kind, key);
  return { ...made, kind, reused: false, ms: performance.now() - started, record };
}

/** What a target is, by its path and the name it was given; throws SPORE_TARGET_NOT_FOUND. */
export function targetKind(target: string, named: string): TargetKind {
  const stat = statSync(target, { throwIfNoEntry: false });
  if (!stat) throw sporeError("SPORE_TARGET_NOT_FOUND", { target: named });
  if (stat.isDirectory()) return isLayoutFolder(target) ? "image" : "project";
  if (!stat.isFile())
    throw sporeError("SPORE_ELF_INVALID", { file: named, problem: "it is not a regular file" });
  return looksLikeImage(target, readStart(target, START_LENGTH)) ? "image" : "program";
}

/** Everything but file contents that the image depends on. */
function keyOf({ options, target, kernel, patch }: ResolvedBuild): string {
  const {
    include,
    entry,
    node,
    env,
    args,
    cwd,
    memory,
    publish,
    user,
    stopSignal,
    health,
    rights,
    recording,
  } = options;
  // A symbolic link may lead elsewhere tomorrow, to sources that are older still.
  const real = realpathSync(target);
  const { pieces, more, without } = options;
  const said = { env, args, cwd, memory, publish, user, stopSignal, health, rights };
  const kept = { ...said, recording, pieces, more, without };
  return recordKey({ target, real, kernel, patch, include, entry, node, ...kept });
}

/** An earlier build of the same thing, if its image is still whole. */
function reuse(store: Store, key: string): Omit<BuildResult, "ms" | "record"> | null {
  const record = findRecord(store, key);
  if (!record) return null;
  try {
    const image = openImageSync(record.image, store);
    return { ...record, image, reused: true };
  } catch {
    // A cleaned or damaged store: build again.
    return null;
  }
}

async function construct(
  build: ResolvedBuild,
  kind: "project" | "program",
  key: string,
): Promise<Pick<BuildResult, "image" | "decisions" | "patches">> {
  const { store } = build;
  prepareStore(store);
  const inputs = new Inputs();
  addBuilderSources(inputs);
  inputs.add(build.kernel);
  const decisions: Decision[] = [];
  if (kind === "project") (await import("./bundle/process.ts")).startBundler();
  const { Patcher } = await import("./patcher.ts");
  const patcher = new Patcher(build.patch ? store : null, decisions);
  const content =
    kind === "program"
      ? await (await import("./program-target.ts")).buildProgram(build, patcher, inputs, decisions)
      : await (await import("./project-target.ts")).buildProject(build, patcher, inputs, decisions);
  const { storeImage } = await import("./image-writer.ts");
  const path = storeImage(content, store);
  const patches = patcher.objects;
  await keepRecord(store, key, inputs, { image: path, kind, decisions, patches });
  const image = openImageSync(path, store);
  (await import("./store-sweep.ts")).sweepSometimes(store);
  return { image, decisions, patches };
}

/** Writes an image with all its blobs into a directory; what is there already is not written again. */
export async function writeImageDirectory(image: Image, output: string): Promise<void> {
  const { writeImageFolder } = await import("./image-folder.ts");
  writeImageFolder(image, output);
}

/** Writes an image with all its blobs into one file, atomically. */
export async function writeImageFile(image: Image, output: string): Promise<void> {
  const { writeImage } = await import("./image-writer.ts");
  writeImage(image, output);
}

/** Where the build of this repository leaves the library OS. */
export function defaultKernel(): string {
  return fileURLToPath(new URL("../../../build/kernel.a", import.meta.url));
}
