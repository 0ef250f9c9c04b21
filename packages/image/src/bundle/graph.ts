/** The module graph of a project, as esbuild sees it. */

import { readFileSync } from "node:fs";
import { dirname, extname, join, relative, resolve } from "node:path";
import { type BuildOptions, type BuildResult, build, type Metafile } from "esbuild";
import type { Inputs } from "../build-record.ts";
import { DecoratorCompiler, decoratorPlugin } from "../decorators.ts";
import { packageFolder } from "../guest-paths.ts";
import { packagesToKeep } from "../package-trace.ts";
import { remembered } from "../remembered.ts";
import type { Store } from "../store.ts";
import { bundleError, commonOptions, messagesOf } from "./esbuild.ts";
import { EVERY, resolvePlugin } from "./plugins.ts";

/** Module format of the output. */
export type ModuleFormat = "esm" | "cjs";

/** What is bundled. */
export interface BundleRequest {
  /** Absolute path of the project. */
  readonly project: string;
  /** Absolute path of the entry module. */
  readonly entry: string;
  readonly nodeMajor: number;
}

/** The module graph of a project, everything bundled that can be. */
export interface ModuleGraph {
  readonly format: ModuleFormat;
  /** Absolute paths of all modules. */
  readonly modules: readonly string[];
  /** Folders of packages that stay as they are, with the reason. */
  readonly kept: ReadonlyMap<string, string>;
  /**
   * What modules ask for and what that is, if esbuild could say so alone; null: answers take the plugin,
   * which is asked for every import and so as slow as all the rest.
   */
  readonly imports: readonly Import[] | null;
  /** Absolute paths of the modules that are CommonJS. */
  readonly commonJs: readonly string[];
}

/** What esbuild found. */
interface Scan extends Omit<ModuleGraph, "kept"> {
  /** Folders of packages that cannot be bundled, with the reason. */
  readonly unbundled: ReadonlyMap<string, string>;
}

/** What a module asks for. */
export interface Import {
  readonly by: string;
  readonly kind: string;
  readonly asked: string;
  /** Absolute path of what that is. */
  readonly path: string;
  /** It was not looked at. */
  readonly isOutside: boolean;
}

/** As often as packages may turn out not to be bundled. */
const ROUNDS = 20;

/**
 * Looks at everything the entry reaches; throws SPORE_BUNDLE_FAILED. What packages lead to is
 * remembered: an edit changes the project's own modules, and packages are a hundred times as many.
 */
export async function scanModules(
  request: BundleRequest,
  store: Store,
  inputs: Inputs,
): Promise<ModuleGraph> {
  const own = await scanAlone(request, { packages: "external" });
  if (!own) {
    const { unbundled, ...scan } = await scanAll(request);
    return { ...scan, kept: new Map([...packagesToKeep(scan.modules), ...unbundled]) };
  }
  const mine = new Set(own.modules);
  const outside = own.imports?.filter(({ isOutside }) => isOutside) ?? [];
  const asked = new Set(outside.map(({ by, kind, asked }) => questionOf(by, kind, asked)));
  const question = ["graph", request, [...asked].sort()];
  const all = await remembered(
    store,
    question,
    async (seen) => {
      const { modules, unbundled, imports, commonJs } = await scanAll(request);
      const theirs = modules.filter((module) => !mine.has(module));
      for (const path of theirs.flatMap(decidingFiles)) seen.add(path);
      const kept = [...packagesToKeep(theirs), ...unbundled];
      return { modules: theirs, kept, imports, commonJs };
    },
    inputs,
  );
  const modules = [...new Set([...own.modules, ...all.modules])];
  const { imports, commonJs } = all;
  return { format: own.format, modules, kept: new Map(all.kept), imports, commonJs };
}

/** What a module asks for; modules of one folder that ask in the same way get the same answer. */
export function questionOf(importer: string, kind: string, asked: string): string {
  return `${dirname(importer)} ${kind} ${asked}`;
}

/** A module of a package, and what decides that it is this one. */
function decidingFiles(module: string): string[] {
  const folder = packageFolder(module);
  if (folder === null) return [module];
  const installed = folder.slice(0, folder.lastIndexOf("/node_modules/") + "/node_modules".length);
  return [module, join(folder, "package.json"), installed, join(installed, ".package-lock.json")];
}

async function scanAll(request: BundleRequest): Promise<Scan> {
  return (await scanAlone(request)) ?? (await scanWithPlugin(request));
}

/** The graph as esbuild sees it; null if something is not found or cannot be bundled. */
async function scanAlone(
  request: BundleRequest,
  more: Pick<BuildOptions, "packages"> = {},
): Promise<Scan | null> {
  const { project, entry } = request;
  const compiler = new DecoratorCompiler(relative(project, entry));
  let result: BuildResult;
  try {
    result = await build({
      ...commonOptions(request, "esm"),
      ...more,
      sourcemap: false,
      entryPoints: [entry],
      outdir: project,
      loader: { ".node": "empty" },
      plugins: [decoratorPlugin(compiler)],
    });
  } catch {
    return null;
  }
  const inputs = result.metafile?.inputs ?? {};
  const at = (path: string): string => resolve(project, path);
  const imports = Object.entries(inputs).flatMap(([by, input]) =>
    input.imports.map(({ path, kind, original = path, external: isOutside = false }) => {
      return { by: at(by), kind, asked: original, path: at(path), isOutside };
    }),
  );
  const modules = Object.keys(inputs).map(at);
  const commonJs = Object.entries(inputs).flatMap(([path, { format }]) =>
    format === "cjs" ? [at(path)] : [],
  );
  return { format: entryFormat(request, inputs), modules, unbundled: new Map(), imports, commonJs };
}

/** The graph with packages left out as they turn out to be impossible to bundle. */
async function scanWithPlugin(request: BundleRequest): Promise<Scan> {
  const unbundled = new Map<string, string>();
  const compiler = new DecoratorCompiler(relative(request.project, request.entry));
  for (let round = 0; ; round++) {
    const external = new Set<string>();
    const isExternal = (folder: string): boolean => unbundled.has(folder);
    try {
      const result = await build({
        ...commonOptions(request, "esm"),
        entryPoints: [request.entry],
        outdir: request.project,
        plugins: [resolvePlugin(request, isExternal, external, EVERY), decoratorPlugin(compiler)],
      });
      const inputs = result.metafile?.inputs ?? {};
      const modules = Object.keys(inputs).map((path) => resolve(request.project, path));
      const all = [...modules, ...external];
      const format = entryFormat(request, inputs);
      return { format, modules: all, unbundled, imports: null, commonJs: [] };
    } catch (error) {
      const offenders = round < ROUNDS ? failedPackages(request.project, error) : new Map<string, string>();
      const before = unbundled.size;
      for (const [folder, why] of offenders) unbundled.set(folder, why);
      if (unbundled.size === before) throw bundleError(request, error);
    }
  }
}

/** The format of the entry: what it is written in, else what its name or package says. */
function entryFormat(request: BundleRequest, inputs: Metafile["inputs"]): ModuleFormat {
  const extension = extname(request.entry);
  if (extension === ".cjs" || extension === ".cts") return "cjs";
  if (extension === ".mjs" || extension === ".mts") return "esm";
  const input = inputs[relative(request.project, request.entry)];
  if (input?.format) return input.format;
  return packageType(dirname(request.entry)) === "module" ? "esm" : "cjs";
}

/** The "type" of the package that a folder belongs to. */
function packageType(folder: string): unknown {
  try {
    const manifest: unknown = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return typeof manifest === "object" && manifest !== null && "type" in manifest
      ? manifest.type
      : undefined;
  } catch {
    const parent = dirname(folder);
    return parent === folder ? undefined : packageType(parent);
  }
}

/** The packages in which bundling failed. */
function failedPackages(project: string, error: unknown): Map<string, string> {
  const result = new Map<string, string>();
  for (const message of messagesOf(error)) {
    const file = message.location?.file;
    const folder = file === undefined ? null : packageFolder(resolve(project, file));
    if (folder !== null) result.set(folder, `it cannot be bundled: ${message.text}`);
  }
  return result;
}
