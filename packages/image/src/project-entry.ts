/** Where a project starts: what its author said, else package.json, else a convention. */

import { readFileSync, statSync } from "node:fs";
import { extname, join, relative, resolve } from "node:path";
import { sporeError } from "@spore/errors";
import type { Inputs } from "./build-record.ts";

/** The entry module of a project and how it was found. */
export interface ProjectEntry {
  /** Absolute path on the host. */
  readonly path: string;
  /** The reason, for people. */
  readonly why: string;
  /** Arguments that come with it (from a start script). */
  readonly args: readonly string[];
}

/** A parsed package.json. */
export type Manifest = Readonly<Record<string, unknown>>;

const EXTENSIONS = [".ts", ".mts", ".cts", ".tsx", ".js", ".mjs", ".cjs", ".jsx"];
const FOLDERS = ["src", "."];
const STEMS = ["index", "main", "server", "app"];

/** Reads a project's package.json; null without one. Throws SPORE_CONFIG_INVALID. */
export function readManifest(project: string, inputs: Inputs): Manifest | null {
  const file = join(project, "package.json");
  inputs.add(file);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return null;
  }
  try {
    const value: unknown = JSON.parse(text);
    if (isRecord(value)) return value;
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw sporeError("SPORE_CONFIG_INVALID", { file, problem }, { cause: error });
  }
  throw sporeError("SPORE_CONFIG_INVALID", { file, problem: "it is not a JSON object" });
}

/** Finds the entry module; throws SPORE_NO_ENTRY. */
export function findEntry(
  project: string,
  manifest: Manifest | null,
  named: string | undefined,
  inputs: Inputs,
): ProjectEntry {
  if (named !== undefined) {
    const path = moduleAt(resolve(project, named), inputs);
    if (path !== null) return { path, why: "named by the configuration", args: [] };
    throw sporeError("SPORE_NO_ENTRY", {
      directory: project,
      problem: `the configured ${named} does not exist`,
    });
  }
  const missed: string[] = [];
  for (const candidate of manifest ? candidates(manifest) : []) {
    const path = moduleAt(resolve(project, candidate.path), inputs);
    if (path !== null) return { path, why: candidate.why, args: candidate.args ?? [] };
    missed.push(`${candidate.why} names ${candidate.path}, which does not exist`);
  }
  for (const folder of FOLDERS) {
    for (const stem of STEMS) {
      const path = moduleAt(join(project, folder, stem), inputs, false);
      if (path !== null) {
        const because = missed.length > 0 ? ` (${missed.join("; ")})` : "";
        return { path, why: `convention: ${relative(project, path)}${because}`, args: [] };
      }
    }
  }
  const problem = missed[0] ?? "package.json names none, and none has a usual name such as src/index.ts";
  throw sporeError("SPORE_NO_ENTRY", { directory: project, problem });
}

interface Candidate {
  readonly path: string;
  readonly why: string;
  readonly args?: readonly string[];
}

/** What package.json offers, best first. */
function candidates(manifest: Manifest): Candidate[] {
  const result: Candidate[] = [];
  const add = (value: unknown, why: string): void => {
    if (typeof value === "string" && value !== "") result.push({ path: value, why });
  };
  const { spore, main, exports, module, scripts, bin } = manifest;
  if (isRecord(spore)) add(spore["entry"], "package.json: spore.entry");
  add(main, "package.json: main");
  add(exportedEntry(exports), "package.json: exports");
  add(module, "package.json: module");
  const started = isRecord(scripts) ? startedModule(scripts, "start") : null;
  if (started) result.push({ ...started, why: "package.json: scripts.start" });
  add(onlyProgram(bin), "package.json: bin");
  return result;
}

/** The "." export that an import in Node gets. */
function exportedEntry(exports: unknown): string | null {
  if (typeof exports === "string") return exports;
  if (Array.isArray(exports)) {
    for (const each of exports) {
      const found = exportedEntry(each);
      if (found !== null) return found;
    }
    return null;
  }
  if (!isRecord(exports)) return null;
  if ("." in exports) return exportedEntry(exports["."]);
  for (const [condition, value] of Object.entries(exports)) {
    if (!["node", "import", "default", "require"].includes(condition)) continue;
    const found = exportedEntry(value);
    if (found !== null) return found;
  }
  return null;
}

/** Programs that run the module they are given. */
const RUNNERS = ["node", "tsx", "ts-node", "ts-node-dev", "tsnd", "nodemon"];
/** Programs that run the command they are given. */
const WRAPPERS = ["npx", "cross-env", "env"];
/** Flags of runners that take the word after them. */
const FLAGS = [
  "-r",
  "--require",
  "--import",
  "--loader",
  "--env-file",
  "-C",
  "-P",
  "--project",
  "--tsconfig",
];
/** As many scripts may lead to one another. */
const HOPS = 5;

/**
 * The module of `node [flags] MODULE [args]`, also behind tsx and the like, at the end
 * of a chain (`tsc && node MODULE`) and in another script (`npm run NAME`); null if the
 * script is anything else.
 */
function startedModule(
  scripts: Readonly<Record<string, unknown>>,
  name: string,
  hops: number = HOPS,
): { path: string; args: string[] } | null {
  const script = scripts[name];
  const last = typeof script === "string" ? (script.split("&&").at(-1) ?? "") : "";
  if (hops === 0 || /[|&;<>$`()'"\\*?]/.test(last)) return null;
  const words = last.trim().split(/\s+/);
  while (WRAPPERS.includes(words[0] ?? "") || /^[A-Z_][A-Z0-9_]*=/.test(words[0] ?? "")) words.shift();
  const program = words.shift() ?? "";
  if (["npm", "pnpm", "yarn"].includes(program)) {
    if (words[0] === "run") words.shift();
    return startedModule(scripts, words[0] ?? "", hops - 1);
  }
  if (!RUNNERS.includes(program)) return null;
  while (words[0] !== undefined) {
    const word = words[0];
    if (["-x", "--exec"].includes(word)) {
      // nodemon's own flags end where the command begins.
      return startedModule({ exec: words.slice(1).join(" ") }, "exec", hops - 1);
    }
    if (!word.startsWith("-") && !(program === "tsx" && word === "watch")) break;
    words.shift();
    if (FLAGS.includes(word) || (program === "nodemon" && ["-w", "--watch", "-e", "--ext"].includes(word))) {
      words.shift();
    }
  }
  const [path, ...args] = words;
  return path === undefined ? null : { path, args };
}

/** The one program of a package. */
function onlyProgram(bin: unknown): unknown {
  const all = isRecord(bin) ? Object.values(bin) : [bin];
  return all.length === 1 ? all[0] : undefined;
}

/** A file, a file without its extension, or the index of a folder, as `require` finds it. */
function moduleAt(path: string, inputs: Inputs, folders: boolean = true): string | null {
  const isFile = (each: string): boolean => {
    inputs.add(each);
    return statSync(each, { throwIfNoEntry: false })?.isFile() === true;
  };
  if (EXTENSIONS.includes(extname(path)) && isFile(path)) return path;
  for (const extension of EXTENSIONS) {
    if (isFile(path + extension)) return path + extension;
  }
  return folders ? moduleAt(join(path, "index"), inputs, false) : null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
