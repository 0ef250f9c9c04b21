/** The Node layer: built once for a Node version, its libraries and the patch setting, shared by all apps. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { buildSync } from "esbuild";
import { writeRecord } from "./atomic-file.ts";
import { addBuilderSources, fingerprint, Inputs, recordKey } from "./build-record.ts";
import { PRELOAD_PATH } from "./guest-paths.ts";
import { isThere } from "./layer.ts";
import type { NodeRelease } from "./node-release.ts";
import { Patcher } from "./patcher.ts";
import { buildProgramLayer, type ProgramLayer } from "./program-layer.ts";
import type { Store } from "./store.ts";
import type { Decision, PatchedObject } from "./types.ts";

/** Where Node is in the guest. */
export const NODE_PATH = "/usr/local/bin/node";

/** The module that runs before an app, as one file that every release can load. */
function preload(release: NodeRelease, inputs: Inputs): string {
  const entry = createRequire(import.meta.url).resolve("@spore/sdk/preload");
  const result = buildSync({
    entryPoints: [entry],
    bundle: true,
    platform: "node",
    format: "cjs",
    target: `node${release.version}`,
    minify: true,
    metafile: true,
    absWorkingDir: dirname(entry),
    write: false,
  });
  for (const path of Object.keys(result.metafile.inputs)) inputs.add(resolve(dirname(entry), path));
  return result.outputFiles[0]?.text ?? "";
}

interface RuntimeRecord {
  readonly inputs: readonly (readonly [path: string, seen: string])[];
  readonly layer: ProgramLayer;
  readonly decisions: readonly Decision[];
  readonly patches: readonly PatchedObject[];
}

/** The layer of a release; notes its inputs and decisions as if it had just been built. */
export function runtimeLayer(
  release: NodeRelease,
  patch: boolean,
  store: Store,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): ProgramLayer {
  const key = recordKey(["node", release.version, release.binary, patch]);
  const path = join(store.runtimes, `${key}.json`);
  const record = usable(path) ?? build(release, patch, store, path);
  for (const [input] of record.inputs) inputs.add(input);
  decisions.push(...record.decisions);
  patcher.objects.push(...record.patches);
  return record.layer;
}

function build(release: NodeRelease, patch: boolean, store: Store, path: string): RuntimeRecord {
  const inputs = new Inputs();
  addBuilderSources(inputs);
  const decisions: Decision[] = [];
  const request = {
    host: release.binary,
    guest: NODE_PATH,
    name: `node ${release.version}`,
    include: [],
    texts: [[PRELOAD_PATH, preload(release, inputs)] as const],
  };
  const patcher = new Patcher(patch ? store : null, decisions);
  const layer = buildProgramLayer(request, store, patcher, inputs, decisions);
  const record = { inputs: inputs.entries(), layer, decisions, patches: patcher.objects };
  writeRecord(path, store.tmp, record);
  return record;
}

/** The record at `path` if its layer is there and nothing that went into it has changed. */
function usable(path: string): RuntimeRecord | null {
  let record: RuntimeRecord;
  try {
    record = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return null;
  }
  if (record.inputs.some(([input, seen]) => fingerprint(input) !== seen)) return null;
  return isThere(record.layer.blob) ? record : null;
}
