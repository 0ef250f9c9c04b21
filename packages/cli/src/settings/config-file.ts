/** Finds and loads spore.config.ts of a project. */

import { existsSync, statSync } from "node:fs";
import { registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { sporeError } from "@spore/errors";
import {
  defaultStore,
  type GuestUser,
  type HealthCheck,
  type NodeMajor,
  type Publish,
  prepareStore,
  type Rights,
  remembered,
  type StopSignal,
  storeAt,
} from "@spore/image";
import type { PiecesMode } from "@spore/needs";
import type { Watch } from "../launch-record.ts";
import { watched } from "./config-watch.ts";

/** The configuration of a project, checked; paths are relative to the project. */
export interface Config {
  readonly entry?: string | undefined;
  readonly publish?: readonly Publish[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly envFile?: string | undefined;
  /** Bytes. */
  readonly memory?: number | undefined;
  /** As after `--include`. */
  readonly include?: readonly string[] | undefined;
  readonly cwd?: string | undefined;
  readonly node?: NodeMajor | undefined;
  readonly args?: readonly string[] | undefined;
  readonly patch?: boolean | undefined;
  readonly pieces?: PiecesMode | undefined;
  readonly ports?: readonly number[] | undefined;
  readonly destinations?: readonly string[] | undefined;
  readonly devices?: Rights["devices"] | undefined;
  readonly user?: GuestUser | undefined;
  readonly stopSignal?: StopSignal | undefined;
  readonly health?: HealthCheck | undefined;
}

const names = ["spore.config.ts", "spore.config.mts", "spore.config.js", "spore.config.mjs"];

/** The configuration file of a target, if it is a directory that has one. */
export function findConfig(target: string, watch: Watch | null = null): string | undefined {
  if (!statSync(target, { throwIfNoEntry: false })?.isDirectory()) return undefined;
  for (const name of names) watch?.path(join(target, name));
  return names.map((name) => join(target, name)).find((path) => existsSync(path));
}

/** Runs the configuration file and checks what it exports. Throws SPORE_CONFIG_INVALID. */
export async function loadConfig(file: string, watch: Watch | null = null): Promise<Config> {
  const load = (): Promise<unknown> => importDefault(file);
  const found = watch === null ? await load() : await watched(watch, load);
  const text = JSON.stringify(found);
  // What is not data (a function, say) is for the schema to refuse.
  if (!isDeepStrictEqual(found, parsed(text))) return checked(found, file);
  const store = storeAt(defaultStore());
  prepareStore(store);
  const schemas = ["config-schema.ts", "values.ts"].map((name) => join(import.meta.dirname, name));
  return remembered(store, ["config", file, text], async (inputs) => {
    for (const path of schemas) inputs.add(path);
    return checked(found, file);
  });
}

/** Loads the schema library, which takes longer than the rest, and checks. */
async function checked(found: unknown, file: string): Promise<Config> {
  const { checkConfig } = await import("./config-schema.ts");
  const result = checkConfig(found);
  if ("problem" in result) throw sporeError("SPORE_CONFIG_INVALID", { file, problem: result.problem });
  return result.config;
}

function parsed(text: string | undefined): unknown {
  return text === undefined ? undefined : JSON.parse(text);
}

async function importDefault(file: string): Promise<unknown> {
  // A project outside this checkout need not install the SDK to say `import { defineConfig }`.
  const sdk = import.meta.resolve("@spore/sdk");
  const hooks = registerHooks({
    resolve: (specifier, context, next) =>
      specifier === "@spore/sdk" ? { url: sdk, shortCircuit: true } : next(specifier, context),
  });
  try {
    const module = (await import(pathToFileURL(file).href)) as { readonly default?: unknown };
    if (module.default !== undefined) return module.default;
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw sporeError("SPORE_CONFIG_INVALID", { file, problem }, { cause });
  } finally {
    hooks.deregister();
  }
  throw sporeError("SPORE_CONFIG_INVALID", { file, problem: "it has no default export" });
}
