/** Builds the image of a project directory: the app's own layer over the Node layer. */

import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { findNeeds } from "./app-needs.ts";
import type { Inputs } from "./build-record.ts";
import { findApart } from "./bundle/apart.ts";
import { type BundleRequest, scanModules } from "./bundle/graph.ts";
import { type Bundle, writeBundle } from "./bundle/write.ts";
import { type Dependencies, dependencyLayer } from "./dependency-layer.ts";
import { NEEDS_DOCUMENT, PIECES_DOCUMENT } from "./document.ts";
import { APP, PRELOAD_PATH, packageFolder, packageName } from "./guest-paths.ts";
import { GuestTree } from "./guest-tree.ts";
import type { ImageContent } from "./image-file.ts";
import { storeDocument } from "./image-writer.ts";
import { storeKernel } from "./kernel-blob.ts";
import { buildLayer } from "./layer.ts";
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
import { graft } from "./program-layer.ts";
import { findEntry, type Manifest, readManifest } from "./project-entry.ts";
import { addAsIs } from "./project-files.ts";
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
  readonly own: OwnFiles;
  readonly dependencies: Dependencies;
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
  const dependencies = await dependencyLayer(app.dependencies, runtime, patch, store, inputs);
  decisions.push(...(dependencies?.decisions ?? []));
  patcher.objects.push(...(dependencies?.patches ?? []));
  const tree = new GuestTree();
  addApp(tree, project, app, inputs);
  for (const { host, guest } of options.include ?? []) graft(tree, host, guest, inputs, decisions);
  const { blob } = buildLayer("app", tree, store);
  const size = `app: ${(blob.length / 2 ** 10).toFixed(0)} KiB`;
  decisions.push({ topic: "layer", what: size, why: "holds the bundle and the files it opens" });
  const objects = [...runtime.objects, ...(dependencies?.objects ?? []), ...tree.objects()];
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
    layers: [runtime.blob, ...(dependencies ? [dependencies.blob] : []), blob],
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
  const graph = await scanModules(request, store, inputs);
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
  const external = new Set([...kept.keys(), ...outside].filter((folder) => folder !== null));
  const isExternal = (folder: string): boolean => external.has(folder);
  // Other entries have modules of their own, which nobody has looked at.
  const apart = own.scripts.length === 0 ? findApart(project, graph, isExternal) : null;
  const bundle = await writeBundle(request, graph, isExternal, own.scripts, apart);
  const traced = new Set(packageFiles);
  const loaded = [...bundle.external, ...(apart?.external ?? [])];
  const missed = loaded.filter((file) => !traced.has(file));
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
  return { bundle, own, dependencies: { request, graph, apart, external, files: packageFiles } };
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

/** The app's own files under /app. */
function addApp(tree: GuestTree, project: string, app: AppContents, inputs: Inputs): void {
  tree.directory(APP);
  addManifest(tree, project, app);
  for (const file of app.own.data) {
    addAsIs(tree, project, file);
    inputs.add(file);
    // A file that appears beside it may be opened the same way.
    inputs.add(dirname(file));
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
