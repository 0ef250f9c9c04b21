/** A module as a target: `spore run server.ts` runs it as an entry of the project that it belongs to. */

import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import type { Watch } from "../launch-record.ts";

const MODULE = /\.[cm]?[jt]sx?$/;

/** A project and the module of it that was named. */
export interface ModuleTarget {
  /** Folder of the nearest package.json, else the module's own. */
  readonly project: string;
  /** Path of the module in the project. */
  readonly entry: string;
}

/** What to build for `path`, if that is a module; undefined for every other target. */
export function moduleTarget(path: string, watch: Watch | null = null): ModuleTarget | undefined {
  if (!MODULE.test(path) || !statSync(path, { throwIfNoEntry: false })?.isFile()) return undefined;
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const manifest = join(folder, "package.json");
    watch?.path(manifest);
    if (existsSync(manifest)) return { project: folder, entry: relative(folder, path) };
    if (folder === dirname(folder)) return { project: dirname(path), entry: basename(path) };
  }
}
