/**
 * The layer of what an app depends on: its packages, bundled and as they are, with the libraries of their
 * add-ons. An edit of the app leaves it as it is, and apps with the same packages share it.
 */

import { lstatSync } from "node:fs";
import { extname } from "node:path";
import { SporeError } from "@spore/errors";
import type { Inputs } from "./build-record.ts";
import { type Apart, writeApart } from "./bundle/apart.ts";
import type { BundleRequest, ModuleGraph } from "./bundle/graph.ts";
import { guestPath, packageFolder } from "./guest-paths.ts";
import { GuestTree, type LayerObject } from "./guest-tree.ts";
import { looksLikeElf, readStart } from "./host-file.ts";
import { buildLayer, isThere } from "./layer.ts";
import { LibraryFinder } from "./libraries.ts";
import { writeLibraryCache } from "./library-cache.ts";
import { Patcher } from "./patcher.ts";
import { addLibrary, type ProgramLayer } from "./program-layer.ts";
import { addAsIs } from "./project-files.ts";
import { remembered } from "./remembered.ts";
import type { Store } from "./store.ts";
import type { Blob, BlobPlace, Decision, PatchedObject } from "./types.ts";

/** What an app depends on. */
export interface Dependencies {
  readonly request: BundleRequest;
  readonly graph: ModuleGraph;
  /** What is bundled. */
  readonly apart: Apart | null;
  /** Folders of packages that are not. */
  readonly external: ReadonlySet<string>;
  /** Files of these, in a fixed order. */
  readonly files: readonly string[];
}

/** The layer, and what was found in it. */
export interface DependencyLayer {
  readonly blob: Blob & BlobPlace;
  /** Native add-ons and libraries. */
  readonly objects: readonly LayerObject[];
  readonly decisions: readonly Decision[];
  readonly patches: readonly PatchedObject[];
}

/** Builds the layer, or finds it unchanged; null if an app depends on nothing. */
export async function dependencyLayer(
  dependencies: Dependencies,
  runtime: ProgramLayer,
  patch: boolean,
  store: Store,
  inputs: Inputs,
): Promise<DependencyLayer | null> {
  const { request, graph, apart, external, files } = dependencies;
  if (apart === null && files.length === 0) return null;
  const { project, nodeMajor } = request;
  const bundled = [graph.format, apart?.doors ?? [], [...external].sort()];
  const key = ["dependencies", project, nodeMajor, bundled, files, runtime.libraries, patch];
  const make = (seen: Inputs): Promise<DependencyLayer> => {
    for (const path of [...(apart?.modules ?? []), ...files]) seen.add(path);
    return build(dependencies, runtime, patch, store, seen);
  };
  const layer = await remembered(store, key, make, inputs);
  return isThere(layer.blob) ? layer : make(inputs);
}

async function build(
  { request, graph, apart, external, files }: Dependencies,
  runtime: ProgramLayer,
  patch: boolean,
  store: Store,
  inputs: Inputs,
): Promise<DependencyLayer> {
  const { project } = request;
  const tree = new GuestTree();
  const decisions: Decision[] = [];
  const patcher = new Patcher(patch ? store : null, decisions);
  for (const file of files) {
    if (!isNative(file) || !addAddOn(tree, project, file, patcher)) addAsIs(tree, project, file);
  }
  addAddOnLibraries(tree, project, files, runtime, patcher, inputs, decisions);
  const isExternal = (folder: string): boolean => external.has(folder);
  const bundle = apart ? await writeApart(request, graph, apart, isExternal) : [];
  for (const { path, bytes } of bundle) tree.file(path, { bytes });
  const { blob } = buildLayer("dependencies", tree, store);
  const size = `dependencies: ${(blob.length / 2 ** 10).toFixed(0)} KiB`;
  decisions.push({
    topic: "layer",
    what: size,
    why: "holds the packages; an edit of the app leaves it as it is",
  });
  return { blob, objects: tree.objects(), decisions, patches: patcher.objects };
}

/** A native add-on with its system calls rewritten; false if there is nothing to rewrite or to read. */
function addAddOn(tree: GuestTree, project: string, file: string, patcher: Patcher): boolean {
  const at = guestPath(project, file);
  try {
    const bytes = patcher.patch(file, at);
    if (bytes) tree.file(at, { bytes, original: file }, 0o755);
    return bytes !== undefined;
  } catch (error) {
    // A package may bring files that no loader takes; one that the app loads fails then.
    if (!(error instanceof SporeError)) throw error;
    return false;
  }
}

/** Shared libraries that native add-ons need beyond those of Node. */
function addAddOnLibraries(
  tree: GuestTree,
  project: string,
  files: readonly string[],
  runtime: ProgramLayer,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): void {
  const addOns = files.filter((file) => isNative(file));
  if (addOns.length === 0) return;
  const finder = new LibraryFinder({ family: "glibc", inputs, included: new Map() });
  for (const [name, path] of runtime.libraries) finder.provide(name, path);
  for (const addOn of addOns) {
    try {
      finder.follow(addOn);
      decisions.push({ topic: "add-on", what: addOn, why: "the app loads it" });
    } catch (error) {
      // Packages bring builds for other C libraries too; one that is really needed fails when it is loaded.
      if (!(error instanceof SporeError)) throw error;
      decisions.push({ topic: "add-on", what: `${addOn}: may not load`, why: error.message });
    }
  }
  const found = finder.libraries.filter(({ neededBy }) => neededBy !== "");
  const isInstalled = (path: string): boolean => packageFolder(path) !== null;
  for (const { path } of found.filter((library) => isInstalled(library.path))) addAsIs(tree, project, path);
  const libraries = found.filter((library) => !isInstalled(library.path));
  if (libraries.length === 0) return;
  for (const library of libraries) addLibrary(tree, library, patcher, inputs, decisions);
  const all = new Map([...runtime.libraries, ...libraries.map(({ name, path }) => [name, path] as const)]);
  tree.file("/etc/ld.so.cache", { bytes: writeLibraryCache(all) });
}

/** A native add-on for this machine; packages bring those of other systems too. */
function isNative(file: string): boolean {
  if (extname(file) !== ".node" && !/\.so(\.\d+)*$/.test(file)) return false;
  if (lstatSync(file).isSymbolicLink()) return false;
  const start = readStart(file, 20);
  return looksLikeElf(start) && start[4] === 2 && start[18] === 62;
}
