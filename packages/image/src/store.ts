/**
 * Where blobs and build records live on this host.
 *
 *   oci-layout          the store is an OCI image layout, without an index:
 *   blobs/sha256/<...>  kernels, layers, configurations and manifests, named by their bytes
 *   kept/<name>         the digest of an image that somebody asked to keep
 *   referrers/<sha256>/ digests of the manifests that refer to an image (snapshots)
 *   builds/<key>.json   what a target was built from, to know it again
 *   runtimes/<key>.json layers that many images share, by what went into them
 *   needs/<key>.json    what the code of a program or library shows of its system calls
 *   traces/<key>.json   which files the modules of an app lead to
 *   patches/<file>.json how the instructions of a program or library are rewritten
 *   node/<version>/     Node releases other than the bundled one
 *   links/              what kernels were linked from, their symbols, and they themselves unpacked
 *   tmp/                files being written, named after the process
 */

import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { sporeError } from "@spore/errors";

/** The folders of a store. */
export interface Store {
  readonly root: string;
  readonly blobs: string;
  readonly kept: string;
  readonly referrers: string;
  readonly builds: string;
  readonly runtimes: string;
  readonly needs: string;
  readonly traces: string;
  readonly patches: string;
  readonly node: string;
  readonly links: string;
  readonly tmp: string;
}

/** $SPORE_HOME, else the user's cache directory for Spore. */
export function defaultStore(env: Readonly<Record<string, string | undefined>> = process.env): string {
  if (env["SPORE_HOME"]) return resolve(env["SPORE_HOME"]);
  const cache = env["XDG_CACHE_HOME"] || join(env["HOME"] || homedir(), ".cache");
  return join(resolve(cache), "spore");
}

/** The folders under `root`; nothing is created yet. */
export function storeAt(root: string): Store {
  const at = (name: string): string => join(root, name);
  return {
    root,
    blobs: at("blobs/sha256"),
    kept: at("kept"),
    referrers: at("referrers"),
    builds: at("builds"),
    runtimes: at("runtimes"),
    needs: at("needs"),
    traces: at("traces"),
    patches: at("patches"),
    node: at("node"),
    links: at("links"),
    tmp: at("tmp"),
  };
}

/** Creates the folders and removes what interrupted builds left behind. */
export function prepareStore(store: Store): void {
  const { blobs, kept, referrers, builds, runtimes, needs, traces, patches, node, links, tmp } = store;
  const known = [needs, traces, patches, links];
  for (const folder of [blobs, kept, referrers, builds, runtimes, ...known, node, tmp]) {
    try {
      mkdirSync(folder, { recursive: true });
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      const next = "set SPORE_HOME to a folder that can be written to and has room";
      throw sporeError("SPORE_OUTPUT_WRITE", { file: folder, problem }, { cause: error, next });
    }
  }
  removeStale(store.tmp, "");
}

/** Name of a file that is being written, unique to this process. */
export function temporaryName(prefix: string): string {
  return `${prefix}${process.pid}-${startTime(process.pid)}-${randomBytes(6).toString("hex")}.tmp`;
}

/** Removes files of `temporaryName(prefix)` whose process is gone. */
export function removeStale(folder: string, prefix: string): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return;
  }
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const match = /^(\d+)-(\d+)-[0-9a-f]{12}\.tmp$/.exec(name.slice(prefix.length));
    if (!match) continue;
    if (startTime(Number(match[1])) === match[2]) continue;
    rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/** Start time of a process in clock ticks (field 22 of /proc/PID/stat), "0" if there is none. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "0";
  } catch {
    return "0";
  }
}
