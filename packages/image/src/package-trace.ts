/**
 * Which files packages and the project's own modules open at run time, found
 * with @vercel/nft: data beside a module, native add-ons, packages that cannot
 * be part of a bundle.
 */

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import type { NodeFileTraceOptions, NodeFileTraceResult } from "@vercel/nft";
import { type Loader, transform } from "esbuild";
import type { Inputs } from "./build-record.ts";
import { packageFolder } from "./guest-paths.ts";
import { remembered } from "./remembered.ts";
import type { Store } from "./store.ts";

/** Text that shows that a package must stay as it is, and the reason. */
const UNBUNDLED: readonly (readonly [RegExp, string])[] = [
  [/\bnode-gyp-build\b|\bnode-pre-gyp\b|\bbindings['"]|\.node['"`]/, "it loads a native add-on"],
  [/\bnew Worker\s*\(/, "it starts workers from its own files"],
  [/\b__dirname\b|\b__filename\b|\bimport\.meta\b/, "it looks for files beside its own"],
  [/\brequire\.resolve\b|\bcreateRequire\b/, "it looks modules up at run time"],
  [/\brequire\s*\(\s*(?!["'`)\s])|\bimport\s*\(\s*(?!["'\s/)])/, "it loads modules whose names it computes"],
];
/** Own modules without any of this open no files that could be found. */
const OPENS_FILES =
  /__dirname|__filename|import\.meta|require\.resolve|process\.cwd|\b(fs|node:fs)\b|\.node\b|Worker/;
/** Files with secrets travel only if someone asks for them. */
const SECRET = /^\.env(\..*)?$|^\.npmrc$|\.pem$|\.key$/;
const SCRIPT = /\.([cm]?[jt]s|[jt]sx)$/;

/** The packages among the modules that must stay unbundled: folder and reason. */
export function packagesToKeep(modules: readonly string[]): Map<string, string> {
  const result = new Map<string, string>();
  for (const module of modules) {
    const folder = packageFolder(module);
    if (folder === null || result.has(folder)) continue;
    if (module.endsWith(".node")) result.set(folder, "it is a native add-on");
    if (!SCRIPT.test(module)) continue;
    const text = readFileSync(module, "utf8");
    const reason = UNBUNDLED.find(([pattern]) => pattern.test(text));
    if (reason) result.set(folder, reason[1]);
  }
  return result;
}

/** All files that the given modules of packages may load or open. */
export async function tracePackages(
  project: string,
  modules: readonly string[],
  store: Store,
): Promise<string[]> {
  if (modules.length === 0) return [];
  return remembered(store, ["packages", project, modules], async (inputs) => {
    const { fileList } = await trace(modules, { base: "/", processCwd: project }, inputs);
    // What packages probe for on the host (/etc, /usr) is not theirs.
    const files = [...fileList].map((file) => join("/", file));
    return files.filter((file) => file.includes("/node_modules/") || isOwnFile(project, file)).sort();
  });
}

/** Traces modules with @vercel/nft; notes all that it looked at, and the folders of what it found. */
async function trace(
  modules: readonly string[],
  options: NodeFileTraceOptions,
  inputs: Inputs,
): Promise<NodeFileTraceResult> {
  const { nodeFileTrace } = await import("@vercel/nft");
  const cache: Partial<Record<"fileCache" | "statCache" | "symlinkCache", Map<string, unknown>>> = {};
  // Packages from which somebody else has left out what is not in use (Next.js, standalone).
  const isLeftOut = (path: string): boolean => !existsSync(join(options.base ?? "/", path));
  const result = await nodeFileTrace([...modules], { ...options, cache, ignore: isLeftOut });
  for (const seen of Object.values(cache)) for (const path of seen?.keys() ?? []) inputs.add(path);
  // A file that appears beside one that was found by a pattern may match it too.
  for (const file of result.fileList) inputs.add(dirname(join("/", file)));
  return result;
}

/** Folders that servers and view engines look into by habit, without a path that could be found. */
const CONVENTIONAL = ["public", "static", "templates", "views"];

/** Where those folders would be. */
export function conventionalFolders(project: string): string[] {
  return CONVENTIONAL.map((name) => join(project, name));
}

/** Files of conventional folders at the top of the project. */
export function conventionalFiles(project: string): string[] {
  const result: string[] = [];
  for (const folder of conventionalFolders(project)) {
    const files = filesBelow(folder).filter((path) => isOwnFile(project, path));
    result.push(...files.filter((path) => !SECRET.test(basename(path))));
  }
  return result;
}

/** All files of a folder; none if it is no folder. */
function filesBelow(folder: string): string[] {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names.map((name) => join(folder, name)).filter((path) => isFile(path));
}

/**
 * Entries of what kept packages have built for this system: packages of their own, named among the optional
 * dependencies, and found by a name that is put together from the system's.
 */
export function builtForThisSystem(folders: Iterable<string>): string[] {
  const result: string[] = [];
  for (const folder of folders) {
    const file = join(folder, "package.json");
    const { optionalDependencies = {} } = readManifest(file);
    const require = createRequire(file);
    for (const name of Object.keys(optionalDependencies)) {
      try {
        const entry = require.resolve(name);
        const { os, cpu, libc } = readManifest(join(packageFolder(entry) ?? "", "package.json"));
        const isOurs = os?.includes("linux") && cpu?.includes("x64") && (libc?.includes("glibc") ?? true);
        if (isOurs) result.push(entry);
      } catch {
        // Not installed: it is for another system, or without an entry.
      }
    }
  }
  return result.sort();
}

/** What is read here of a package.json. */
interface PackageManifest {
  readonly optionalDependencies?: object;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
}

function readManifest(file: string): PackageManifest {
  try {
    const value: unknown = JSON.parse(readFileSync(file, "utf8"));
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** What the project's own modules open. */
export interface OwnFiles {
  /** Modules that are loaded by path: workers, plug-ins. */
  readonly scripts: readonly string[];
  /** Everything else. */
  readonly data: readonly string[];
  /** Left out because they look like secrets. */
  readonly secrets: readonly string[];
}

/** Looks for files that own modules open; imports are the bundler's affair. */
export async function traceOwnModules(
  project: string,
  modules: readonly string[],
  store: Store,
): Promise<OwnFiles> {
  const own = modules.filter((module) => packageFolder(module) === null && SCRIPT.test(module));
  const asking = own.filter((module) => OPENS_FILES.test(readFileSync(module, "utf8")));
  if (asking.length === 0) return { scripts: [], data: [], secrets: [] };
  const opened = await remembered(store, ["own", project, asking], (inputs) =>
    openedBy(project, asking, inputs),
  );
  const known = new Set(modules);
  const folders = [project, ...own.map((module) => packageOf(module))];
  const isOwn = (path: string): boolean => folders.some((folder) => isOwnFile(folder, path));
  const found = opened.filter((path) => !known.has(path) && isOwn(path));
  for (const path of asking.flatMap((module) => namedInCalls(project, module))) {
    if (!known.has(path) && isOwn(path) && !found.includes(path)) found.push(path);
  }
  const workers = asking.flatMap((module) => workersOf(module)).filter((path) => !known.has(path));
  const secrets = found.filter((path) => SECRET.test(basename(path)));
  const rest = found.filter((path) => !SECRET.test(basename(path)));
  const isScript = (path: string): boolean => SCRIPT.test(path) && !path.endsWith(".d.ts");
  return {
    scripts: [...new Set([...workers, ...rest.filter(isScript)])].sort(),
    data: rest.filter((path) => !isScript(path)).sort(),
    secrets: secrets.sort(),
  };
}

/** The files that modules open, by paths that stand in their text. */
async function openedBy(project: string, modules: readonly string[], inputs: Inputs): Promise<string[]> {
  for (const module of modules) inputs.add(module);
  const options = {
    base: "/",
    processCwd: project,
    readFile: readAsJavaScript,
    resolve: async () => [],
  };
  const { reasons } = await trace(modules, options, inputs);
  return [...reasons]
    .filter(([, { type }]) => type.includes("asset") || type.includes("sharedlib"))
    .map(([file]) => join("/", file));
}

/** Declared dependencies that own modules name in a string without importing them (transports, view engines, drivers). */
export function packagesNamed(
  project: string,
  manifest: Readonly<Record<string, unknown>> | null,
  modules: readonly string[],
): string[] {
  const declared = manifest?.["dependencies"];
  if (typeof declared !== "object" || declared === null) return [];
  const reached = new Set(modules.map((module) => packageFolder(module)));
  const texts = modules
    .filter((module) => packageFolder(module) === null)
    .map((module) => readFileSync(module, "utf8"));
  const require = createRequire(join(project, "package.json"));
  const result: string[] = [];
  for (const name of Object.keys(declared)) {
    const quoted = [`"${name}"`, `'${name}'`, `\`${name}\``];
    if (!texts.some((text) => quoted.some((each) => text.includes(each)))) continue;
    try {
      const path = require.resolve(name);
      if (path.startsWith("/") && !reached.has(packageFolder(path))) result.push(path);
    } catch {
      // Not installed, or without a main module: nothing to load.
    }
  }
  return result;
}

/** `new URL("./x.ts", import.meta.url)`: also where only the built name (.js) is written. */
function workersOf(module: string): string[] {
  const result: string[] = [];
  const pattern = /new URL\(\s*(["'`])(\.[^"'`]+)\1\s*,\s*import\.meta\.url\s*\)/g;
  for (const [, , named = ""] of readFileSync(module, "utf8").matchAll(pattern)) {
    const path = resolve(module, "..", named);
    if (SCRIPT.test(path) && isFile(path)) result.push(path);
  }
  return result;
}

/** `readFileSync("settings.json")`: relative to the working directory, which is the project's root. */
function namedInCalls(project: string, module: string): string[] {
  const calls =
    /\b(?:readFile|createReadStream|open|readdir|opendir|sendFile)(?:Sync)?\(\s*(["'`])([^"'`$\n]+)\1/g;
  const result: string[] = [];
  for (const [, , named = ""] of readFileSync(module, "utf8").matchAll(calls)) {
    const path = resolve(project, named);
    if (path === project || relative(project, path).startsWith("..")) continue;
    if (isFile(path)) result.push(path);
    else if (/readdir|opendir/.test(readFileSync(module, "utf8"))) result.push(...filesBelow(path));
  }
  return result;
}

/** nft reads JavaScript only. */
async function readAsJavaScript(path: string): Promise<string | null> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return null;
  }
  const extension = extname(path);
  const loaders: Readonly<Record<string, Loader>> = {
    ".ts": "ts",
    ".mts": "ts",
    ".cts": "ts",
    ".tsx": "tsx",
    ".jsx": "jsx",
  };
  const loader = loaders[extension];
  if (loader === undefined) return text;
  try {
    return (await transform(text, { loader, format: extension === ".cts" ? "cjs" : "esm" })).code;
  } catch {
    return text;
  }
}

/** The folder of the package that an own module is part of (a workspace has several), else its own folder. */
function packageOf(module: string): string {
  for (let folder = dirname(module); folder !== dirname(folder); folder = dirname(folder)) {
    if (isFile(join(folder, "package.json"))) return folder;
  }
  return dirname(module);
}

/** A file in that folder that belongs to people, not to their tools. */
function isOwnFile(folder: string, path: string): boolean {
  if (packageFolder(path) !== null || !isFile(path)) return false;
  const inside = relative(folder, path);
  return !/^(\.\.|\.git|node_modules)(\/|$)/.test(inside);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
