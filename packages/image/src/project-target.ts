/** Builds the image of a project directory: the app's own layer over the Node layer. */

import { existsSync, lstatSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { dirname, extname, join, relative, resolve } from "node:path";
import { SporeError } from "@spore/errors";
import { findNeeds } from "./app-needs.ts";
import type { Inputs } from "./build-record.ts";
import { type Bundle, type BundleRequest, scanModules, writeBundle } from "./bundle.ts";
import { NEEDS_DOCUMENT, PIECES_DOCUMENT } from "./document.ts";
import { APP, guestPath, PRELOAD_PATH, packageFolder, packageName } from "./guest-paths.ts";
import { GuestTree } from "./guest-tree.ts";
import { looksLikeElf, readStart } from "./host-file.ts";
import type { ImageContent } from "./image-file.ts";
import { storeDocument } from "./image-writer.ts";
import { storeKernel } from "./kernel-blob.ts";
import { buildLayer } from "./layer.ts";
import { LibraryFinder } from "./libraries.ts";
import { writeLibraryCache } from "./library-cache.ts";
import { DEFAULT_NODE, nodeRelease } from "./node-release.ts";
import {
  builtForThisSystem,
  conventionalFiles,
  conventionalFolders,
  type OwnFiles,
  packagesNamed,
  traceOwnModules,
  tracePackages,
} from "./package-trace.ts";
import type { Patcher } from "./patcher.ts";
import { addLibrary, graft, type ProgramLayer } from "./program-layer.ts";
import { findEntry, type Manifest, readManifest } from "./project-entry.ts";
import {
  defaultsOf,
  modeOf,
  nameOf,
  PROJECT_MEMORY,
  policyOf,
  type ResolvedBuild,
} from "./resolved-build.ts";
import { NODE_PATH, runtimeLayer } from "./runtime-layer.ts";
import type { Store } from "./store.ts";
import type { Decision } from "./types.ts";
import { wishesOf, withChoice } from "./wishes.ts";

/** What the app's layer is made of. */
interface AppContents {
  readonly bundle: Bundle;
  /** Files of unbundled packages. */
  readonly packageFiles: readonly string[];
  readonly own: OwnFiles;
}

/** Bundles the app and puts it over the Node layer. */
export async function buildProject(
  build: ResolvedBuild,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): Promise<ImageContent> {
  const { options, patch, store } = build;
  const project = realpathSync(build.target);
  const manifest = readManifest(project, inputs);
  decisions.push({ topic: "target", what: project, why: "a project directory" });
  const entry = findEntry(project, manifest, options.entry, inputs);
  decisions.push({ topic: "entry", what: relative(project, entry.path), why: entry.why });
  const major = options.node ?? DEFAULT_NODE;
  const release = await nodeRelease(major, store);
  const asked = options.node === undefined ? "the default" : "asked for";
  decisions.push({ topic: "node", what: release.version, why: asked });
  const request = { project, entry: entry.path, nodeMajor: major };
  const app = await collectApp(request, manifest, store, inputs, decisions);
  const runtime = runtimeLayer(release, patch, store, patcher, inputs, decisions);
  const tree = new GuestTree();
  addApp(tree, project, app, patcher, inputs);
  addAddOnLibraries(tree, project, app, runtime, patcher, inputs, decisions);
  for (const { host, guest } of options.include ?? []) graft(tree, host, guest, inputs, decisions);
  const { blob } = buildLayer("app", tree, store);
  const size = `app: ${(blob.length / 2 ** 10).toFixed(0)} KiB`;
  decisions.push({ topic: "layer", what: size, why: "holds the bundle and the files it opens" });
  const objects = [...runtime.objects, ...tree.objects()];
  const mode = modeOf(options);
  const found = await findNeeds(objects, patcher.objects, mode, options.recording, store, decisions);
  const needs = withChoice(found, options);
  const kernel = await storeKernel(build.kernel, wishesOf(needs), store);
  const argv = [NODE_PATH, "--require", PRELOAD_PATH, "--enable-source-maps", app.bundle.entry];
  return {
    ...policyOf(options),
    kind: "project",
    name: typeof manifest?.["name"] === "string" ? manifest["name"] : nameOf(project),
    program: runtime.program,
    defaults: defaultsOf(
      { ...options, args: options.args ?? entry.args },
      { argv, cwd: APP, memory: PROJECT_MEMORY },
    ),
    kernel: kernel.blob,
    layers: [runtime.blob, blob],
    documents: [
      storeDocument(NEEDS_DOCUMENT, needs, store),
      storeDocument(PIECES_DOCUMENT, kernel.pieces, store),
    ],
  };
}

/** Bundles what can be bundled and finds everything else that the app loads or opens. */
async function collectApp(
  request: BundleRequest,
  manifest: Manifest | null,
  store: Store,
  inputs: Inputs,
  decisions: Decision[],
): Promise<AppContents> {
  const { project } = request;
  const graph = await scanModules(request, store);
  noteModules(project, graph.modules, inputs);
  const kept = new Map(graph.kept);
  const own = withConventions(
    project,
    await traceOwnModules(project, graph.modules, store),
    graph.modules,
    inputs,
    decisions,
  );
  const named = packagesNamed(project, manifest, graph.modules);
  for (const path of named) {
    const folder = packageFolder(path);
    if (folder !== null) kept.set(folder, "the app names it in a string");
  }
  const seeds = graph.modules.filter((module) => kept.has(packageFolder(module) ?? ""));
  const built = builtForThisSystem(kept.keys());
  let packageFiles = await tracePackages(project, [...seeds, ...named, ...built], store);
  // What an unbundled package loads must exist once, so it is not bundled either.
  const outside = new Set(packageFiles.map((file) => packageFolder(file)));
  const isExternal = (folder: string): boolean => kept.has(folder) || outside.has(folder);
  const bundle = await writeBundle(request, graph, isExternal, own.scripts);
  const traced = new Set(packageFiles);
  const missed = [...bundle.external].filter((file) => !traced.has(file));
  if (missed.length > 0) {
    packageFiles = [
      ...new Set([...packageFiles, ...missed, ...(await tracePackages(project, missed, store))]),
    ].sort();
  }
  packageFiles = withManifests(packageFiles);
  for (const file of packageFiles) inputs.add(file);
  const bundled = graph.modules.filter((module) => !isExternal(packageFolder(module) ?? "")).length;
  const what = `${bundled} modules, ${graph.format}`;
  decisions.push({ topic: "bundle", what, why: "everything that the entry imports" });
  explain(project, kept, own, decisions);
  return { bundle, packageFiles, own };
}

/** Adds the folders that a server's files usually are in. */
function withConventions(
  project: string,
  own: OwnFiles,
  modules: readonly string[],
  inputs: Inputs,
  decisions: Decision[],
): OwnFiles {
  for (const folder of conventionalFolders(project)) inputs.add(folder);
  const known = new Set([...own.data, ...own.scripts, ...modules]);
  const more = conventionalFiles(project).filter((path) => !known.has(path));
  if (more.length === 0) return own;
  const folders = new Set(more.map((path) => relative(project, path).split("/")[0] ?? ""));
  for (const folder of folders)
    decisions.push({ topic: "folder", what: folder, why: "convention: servers look there" });
  return { ...own, data: [...own.data, ...more].sort() };
}

/** Adds the package.json of every package: Node resolves names and formats by it. */
function withManifests(files: readonly string[]): string[] {
  const folders = new Set(files.map((file) => packageFolder(file)).filter((folder) => folder !== null));
  const manifests = [...folders]
    .map((folder) => join(folder, "package.json"))
    .filter((path) => existsSync(path));
  return [...new Set([...files, ...manifests])].sort();
}

/** Notes what the bundler read, and what it would have read had it been there. */
function noteModules(project: string, modules: readonly string[], inputs: Inputs): void {
  for (const lock of ["package-lock.json", "pnpm-lock.yaml", "yarn.lock"]) inputs.add(join(project, lock));
  inputs.add(join(project, "tsconfig.json"));
  for (const module of modules) {
    inputs.add(module);
    if (packageFolder(module) !== null) continue;
    for (let folder = dirname(module); folder.startsWith(project); folder = dirname(folder)) {
      inputs.add(join(folder, "tsconfig.json"));
      inputs.add(join(folder, "package.json"));
    }
  }
}

function explain(
  project: string,
  kept: ReadonlyMap<string, string>,
  own: OwnFiles,
  decisions: Decision[],
): void {
  for (const [folder, why] of [...kept].sort(([a], [b]) => (a < b ? -1 : 1))) {
    decisions.push({ topic: "package", what: `${packageName(folder)}: not bundled`, why });
  }
  for (const path of own.scripts) {
    decisions.push({ topic: "module", what: relative(project, path), why: "the app loads it by its path" });
  }
  for (const path of own.data) {
    decisions.push({ topic: "file", what: relative(project, path), why: "the app opens it" });
  }
  for (const path of own.secrets) {
    const why = "it looks like a secret; --include or --env-file brings it along";
    decisions.push({ topic: "file", what: `${relative(project, path)}: left out`, why });
  }
}

/** The files under /app (and /node_modules for packages above the project). */
function addApp(tree: GuestTree, project: string, app: AppContents, patcher: Patcher, inputs: Inputs): void {
  tree.directory(APP);
  addManifest(tree, project, app);
  for (const file of app.own.data) {
    addAsIs(tree, project, file);
    inputs.add(file);
    // A file that appears beside it may be opened the same way.
    inputs.add(dirname(file));
  }
  for (const file of app.packageFiles) {
    if (!isNative(file) || !addAddOn(tree, project, file, patcher)) addAsIs(tree, project, file);
  }
  for (const { path, bytes } of app.bundle.files) tree.file(path, { bytes });
}

/**
 * The project's own package.json. Modules beside the entry keep their names
 * (worker.ts), so that Node goes by "type": it is stated if the author did not.
 */
function addManifest(tree: GuestTree, project: string, app: AppContents): void {
  const host = join(project, "package.json");
  const target = join(APP, "package.json");
  const text = existsSync(host) ? readFileSync(host, "utf8") : "{}";
  const manifest: unknown = JSON.parse(text);
  const typeless = typeof manifest === "object" && manifest !== null && !("type" in manifest);
  if (typeless && app.own.scripts.length > 0 && app.bundle.entry.endsWith(".mjs")) {
    tree.text(target, `${JSON.stringify({ ...manifest, type: "module" }, null, 2)}\n`);
  } else if (existsSync(host)) {
    tree.text(target, text);
  }
}

/** A host file or symlink at its guest path. */
function addAsIs(tree: GuestTree, project: string, file: string): void {
  const at = guestPath(project, file);
  if (lstatSync(file).isSymbolicLink()) {
    const target = resolve(dirname(file), readlinkSync(file));
    tree.symlink(at, relative(dirname(at), guestPath(project, target)));
    return;
  }
  const stat = statSync(file);
  if (stat.isFile())
    tree.file(at, { host: file, size: stat.size }, (stat.mode & 0o111) === 0 ? 0o644 : 0o755);
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
  app: AppContents,
  runtime: ProgramLayer,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): void {
  const addOns = app.packageFiles.filter((file) => isNative(file));
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
