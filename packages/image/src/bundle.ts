/** Bundling with esbuild: one look at the module graph, then the output. */

import { readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { sporeError } from "@spore/errors";
import {
  type BuildFailure,
  type BuildOptions,
  type BuildResult,
  build,
  type Loader,
  type Message,
  type Metafile,
  type OnResolveArgs,
  type OnResolveResult,
  type Plugin,
  type PluginBuild,
} from "esbuild";
import { DecoratorCompiler, decoratorPlugin } from "./decorators.ts";
import { guestPath, packageFolder } from "./guest-paths.ts";
import { packagesToKeep } from "./package-trace.ts";
import { remembered } from "./remembered.ts";
import type { Store } from "./store.ts";

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
}

/** What esbuild found. */
interface Scan extends Omit<ModuleGraph, "kept"> {
  /** Folders of packages that cannot be bundled, with the reason. */
  readonly unbundled: ReadonlyMap<string, string>;
}

/** What a module asks for. */
interface Import {
  readonly by: string;
  readonly kind: string;
  readonly asked: string;
  /** Absolute path of what that is. */
  readonly path: string;
  /** It was not looked at. */
  readonly isOutside: boolean;
}

/** One file of the output. */
export interface BundledFile {
  /** Guest path. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** The output, and the files of unbundled packages that it loads. */
export interface Bundle {
  /** Guest path of the entry. */
  readonly entry: string;
  readonly files: readonly BundledFile[];
  /** Absolute host paths of modules that are loaded as they are. */
  readonly external: ReadonlySet<string>;
}

/** Modules that know their own place: their text names it. */
const PLACE = /\bimport\.meta\b|\b__dirname\b|\b__filename\b/;
/** Names that stand for a module's place until the output is written. */
const PLACE_NAMES = {
  "import.meta.url": "__spore_url",
  "import.meta.dirname": "__spore_dirname",
  "import.meta.filename": "__spore_filename",
  "import.meta.main": "__spore_main",
  __dirname: "__spore_dirname",
  __filename: "__spore_filename",
} as const;
/** As often as packages may turn out not to be bundled. */
const ROUNDS = 20;

/**
 * Looks at everything the entry reaches; throws SPORE_BUNDLE_FAILED. What packages lead to is
 * remembered: an edit changes the project's own modules, and packages are a hundred times as many.
 */
export async function scanModules(request: BundleRequest, store: Store): Promise<ModuleGraph> {
  const own = await scanAlone(request, { packages: "external" });
  if (!own) {
    const { unbundled, ...scan } = await scanAll(request);
    return { ...scan, kept: new Map([...packagesToKeep(scan.modules), ...unbundled]) };
  }
  const mine = new Set(own.modules);
  const outside = own.imports?.filter(({ isOutside }) => isOutside) ?? [];
  const asked = new Set(outside.map(({ by, kind, asked }) => `${dirname(by)} ${kind} ${asked}`));
  const question = ["graph", request, [...asked].sort()];
  const all = await remembered(store, question, async (inputs) => {
    const { modules, unbundled, imports } = await scanAll(request);
    const theirs = modules.filter((module) => !mine.has(module));
    for (const path of theirs.flatMap(decidingFiles)) inputs.add(path);
    const kept = [...packagesToKeep(theirs), ...unbundled];
    return { modules: theirs, kept, imports };
  });
  const modules = [...new Set([...own.modules, ...all.modules])];
  return { format: own.format, modules, kept: new Map(all.kept), imports: all.imports };
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
  return { format: entryFormat(request, inputs), modules, unbundled: new Map(), imports };
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
      return { format: entryFormat(request, inputs), modules: all, unbundled, imports: null };
    } catch (error) {
      const offenders = round < ROUNDS ? failedPackages(request.project, error) : new Map<string, string>();
      const before = unbundled.size;
      for (const [folder, why] of offenders) unbundled.set(folder, why);
      if (unbundled.size === before) throw bundleError(request, error);
    }
  }
}

/**
 * Writes the bundle. Packages in `external` are loaded from where they are;
 * `extra` modules (workers, modules loaded by path) become files of their own.
 */
export async function writeBundle(
  request: BundleRequest,
  graph: ModuleGraph,
  isExternal: (folder: string) => boolean,
  extra: readonly string[],
): Promise<Bundle> {
  const { project, entry } = request;
  const { format } = graph;
  // Other entries have modules of their own, which nobody has looked at.
  const seen = extra.length === 0 ? graph : null;
  const external = new Set<string>();
  const extension = format === "esm" ? ".mjs" : ".cjs";
  const entryOutput = entryPath(project, entry, extension);
  const points = [entry, ...extra].map((path) => ({ in: path, out: outputStem(project, path) }));
  let result: BuildResult;
  try {
    result = await build({
      ...commonOptions(request, format),
      metafile: false,
      entryPoints: points,
      outdir: project,
      chunkNames: ".chunks/[name]-[hash]",
      outExtension: { ".js": extension },
      splitting: format === "esm" && extra.length > 0,
      plugins: [
        ...(format === "esm" ? [builtInPlugin()] : []),
        resolvePlugin(request, isExternal, external, externalNames(seen, isExternal)),
        placePlugin(project, entry, entryOutput, ownModules(seen)),
      ],
    });
  } catch (error) {
    throw bundleError(request, error);
  }
  const renamed = new Map(points.map(({ in: path, out }) => [join(project, out) + extension, path]));
  const files: BundledFile[] = [];
  for (const { path, text, contents } of result.outputFiles ?? []) {
    const module = renamed.get(path.replace(/\.map$/, ""));
    const target =
      module === undefined
        ? guestPath(project, path)
        : module === entry
          ? entryOutput
          : guestPath(project, module);
    if (path.endsWith(".map")) {
      const map = module === undefined ? target : `${target}.map`;
      files.push({ path: map, bytes: Buffer.from(guestMap(text, project, dirname(path))) });
    } else if (/\.[cm]js$/.test(path)) {
      files.push({ path: target, bytes: Buffer.from(finished(text, format, basename(target))) });
    } else {
      files.push({ path: target, bytes: contents });
    }
  }
  return { entry: entryOutput, files, external };
}

/** The bundle takes the entry's place: beside it, what is relative stays so. */
function entryPath(project: string, entry: string, extension: string): string {
  const path = guestPath(project, entry);
  return path.slice(0, path.length - extname(path).length) + extension;
}

/** A name that keeps modules apart that differ in their extension only. */
function outputStem(project: string, path: string): string {
  const inside = relative("/app", guestPath(project, path));
  return inside.replace(/\.([a-z]+)$/, "-$1");
}

function commonOptions(request: BundleRequest, format: ModuleFormat): BuildOptions & { write: false } {
  return {
    absWorkingDir: request.project,
    bundle: true,
    platform: "node",
    target: `node${request.nodeMajor}`,
    format,
    metafile: true,
    sourcemap: "external",
    charset: "utf8",
    legalComments: "none",
    logLevel: "silent",
    conditions: ["node-addons"],
    write: false,
  };
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

/** Filters of esbuild's plugins: everything, and nothing. */
const EVERY = /.*/;
const NOTHING = /^\b\B/;

/** What is asked for that may not be bundled. */
function externalNames(graph: ModuleGraph | null, isExternal: (folder: string) => boolean): RegExp {
  if (!graph?.imports) return EVERY;
  const isOutside = (path: string): boolean =>
    path.endsWith(".node") || isExternal(packageFolder(path) ?? "");
  // What stays outside asks by itself.
  const border = graph.imports.filter(({ by, path }) => !isOutside(by) && isOutside(path));
  return oneOf(border.map(({ asked }) => asked));
}

/** The modules that may ask where they are: packages that do so are not bundled. */
function ownModules(graph: ModuleGraph | null): RegExp {
  const script = /\.([cm]?[jt]s|[jt]sx)$/;
  if (!graph) return script;
  return oneOf(graph.modules.filter((path) => packageFolder(path) === null && script.test(path)));
}

/** A filter for some texts, as both JavaScript and Go read it. */
function oneOf(texts: readonly string[]): RegExp {
  if (texts.length === 0) return NOTHING;
  const escaped = [...new Set(texts)].map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^(?:${escaped.join("|")})$`);
}

/** Marks a resolution that this plugin asks for itself. */
const OWN_QUESTION = Symbol("own question");

/** Leaves unbundled packages, add-ons and what packages ask for in vain to Node. */
function resolvePlugin(
  request: BundleRequest,
  isExternal: (folder: string) => boolean,
  external: Set<string>,
  filter: RegExp,
): Plugin {
  const answer = async (setup: PluginBuild, args: OnResolveArgs): Promise<OnResolveResult | undefined> => {
    if (args.pluginData === OWN_QUESTION || args.kind === "entry-point") return undefined;
    const { importer, kind, resolveDir } = args;
    const found = await setup.resolve(args.path, { importer, kind, resolveDir, pluginData: OWN_QUESTION });
    if (found.errors.length > 0) {
      if (args.path === "@spore/sdk") return { path: fileURLToPath(import.meta.resolve("@spore/sdk")) };
      // What a package offers to use if it is there is its own affair.
      return packageFolder(importer) === null ? undefined : { path: args.path, external: true };
    }
    if (found.external || found.namespace !== "file") return undefined;
    const folder = packageFolder(found.path);
    const addOn = found.path.endsWith(".node");
    if (!addOn && (folder === null || !isExternal(folder))) return undefined;
    external.add(found.path);
    return { path: guestPath(request.project, found.path), external: true, sideEffects: found.sideEffects };
  };
  return {
    name: "spore-resolve",
    setup: (setup) => setup.onResolve({ filter }, (args) => answer(setup, args)),
  };
}

/**
 * Takes Node's own modules as `require` does. An ESM import of one reads all
 * its exports, and those of node:http load a whole HTTP client when they are
 * read: a server would start in twice the time.
 */
function builtInPlugin(): Plugin {
  return {
    name: "spore-built-in",
    setup(setup) {
      const filter = new RegExp(`^node:|${oneOf(builtinModules).source}`);
      setup.onResolve({ filter }, ({ path }) => ({ path, namespace: "built-in" }));
      setup.onLoad({ filter: /.*/, namespace: "built-in" }, ({ path }) => {
        const name = JSON.stringify(path);
        const unknown = `Object.assign(new Error("No such built-in module: " + ${name}), { code: "ERR_UNKNOWN_BUILTIN_MODULE" })`;
        const contents = `module.exports = globalThis.process.getBuiltinModule(${name});\nif (!module.exports) throw ${unknown};`;
        return { contents, loader: "js" };
      });
    },
  };
}

/** Tells modules that ask where they are: at their own place in the guest, not in the bundle's. */
function placePlugin(project: string, entry: string, entryOutput: string, filter: RegExp): Plugin {
  const compiler = new DecoratorCompiler(relative(project, entry));
  return {
    name: "spore-place",
    setup(setup) {
      setup.initialOptions.define = PLACE_NAMES;
      setup.onLoad({ filter }, ({ path }) => {
        const source = readFileSync(path, "utf8");
        const compiled = compiler.compile(path, source);
        const { text, loader } = compiled ?? { text: source, loader: loaderOf(path) };
        if (!PLACE.test(text)) return compiled && { contents: text, loader };
        const place = path === entry ? entryOutput : guestPath(project, path);
        return { contents: withPlace(text, place, path === entry), loader };
      });
    },
  };
}

/** A module's text with its place declared on its first line, so that line numbers stay. */
function withPlace(text: string, place: string, isMain: boolean): string {
  const values = [
    `${PLACE_NAMES["import.meta.url"]} = ${JSON.stringify(pathToFileURL(place).href)}`,
    `${PLACE_NAMES["import.meta.filename"]} = ${JSON.stringify(place)}`,
    `${PLACE_NAMES["import.meta.dirname"]} = ${JSON.stringify(dirname(place))}`,
    `${PLACE_NAMES["import.meta.main"]} = ${isMain}`,
  ];
  const declaration = `var ${values.join(", ")};`;
  const shebang = /^#!.*/.exec(text)?.[0] ?? "";
  const body = text.slice(shebang.length);
  const strict = /^\s*(["'])use strict\1/.test(body) ? '"use strict";' : "";
  // A shebang line becomes a comment: the declaration must not be part of it.
  return shebang === "" ? strict + declaration + body : `${strict}${declaration}//${shebang}${body}`;
}

function loaderOf(path: string): Loader {
  const extension = extname(path);
  if (extension === ".tsx") return "tsx";
  if (extension === ".jsx") return "jsx";
  return extension.endsWith("ts") ? "ts" : "js";
}

/** Adds what Node needs to know: a `require` for bundled CommonJS modules, and the source map. */
function finished(text: string, format: ModuleFormat, name: string): string {
  const needsRequire = format === "esm" && /^var __require = /m.test(text);
  const lead = needsRequire
    ? 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url); '
    : "";
  const shebang = /^#!.*\n/.exec(text)?.[0] ?? "";
  return `${shebang}${lead}${text.slice(shebang.length)}//# sourceMappingURL=${name}.map\n`;
}

/** A source map that names guest paths; the text of packages is left out. */
function guestMap(text: string, project: string, folder: string): string {
  const map: { sources: string[]; sourcesContent?: (string | null)[] } = JSON.parse(text);
  const hosts = map.sources.map((source) => resolve(folder, source));
  map.sources = hosts.map((host) => guestPath(project, host));
  map.sourcesContent = (map.sourcesContent ?? []).map((content, index) =>
    packageFolder(hosts[index] ?? "") === null ? content : null,
  );
  return JSON.stringify(map);
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

function bundleError(request: BundleRequest, error: unknown): Error {
  const [first] = messagesOf(error);
  const entry = relative(request.project, request.entry);
  if (!first) {
    const problem = error instanceof Error ? error.message : String(error);
    return sporeError("SPORE_BUNDLE_FAILED", { entry, problem }, { cause: error });
  }
  const { location, text } = first;
  const place = location ? `${location.file}:${location.line}:${location.column + 1}: ` : "";
  return sporeError("SPORE_BUNDLE_FAILED", { entry, problem: place + text }, { cause: error });
}

function messagesOf(error: unknown): readonly Message[] {
  const isFailure = (value: unknown): value is BuildFailure =>
    value instanceof Error && "errors" in value && Array.isArray(value.errors);
  return isFailure(error) ? error.errors : [];
}
