/**
 * Copies files out of an image onto the host. All of a tree is looked at before
 * anything is written, and it gets its name only once it is whole.
 */

import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, posix } from "node:path";
import { sporeError } from "@spore/errors";
import { damaged } from "./image-file.ts";
import type { ImageView, ViewEntry } from "./image-view.ts";
import { removeStale, temporaryName } from "./store.ts";
import type { Image } from "./types.ts";

/** A layer says what it holds about once; a file is in it twice at most where it has two names. */
const MOST_COPIES = 4;
const MOST_FILES = 4_000_000;
/** Small files that are shared by many names are no bomb. */
const FREE_BYTES = 64 << 20;

/** What was copied. */
export interface Copied {
  readonly path: string;
  readonly files: number;
  readonly bytes: number;
}

/** Copies a file or a directory tree to `to`, or into it if it is a directory. */
export function copyOut(image: Image, view: ImageView, path: string, to: string): Copied {
  const source = view.find(path);
  const target = isDirectory(to) ? join(to, basename(source.path) || image.name.replaceAll("/", "-")) : to;
  if (
    lstatSync(target, { throwIfNoEntry: false }) &&
    (source.stat.type === "directory" || isDirectory(target))
  ) {
    throw sporeError("SPORE_OUTPUT_WRITE", { file: target, problem: "it is there already" });
  }
  const entries = [...checkedEntries(image, view, source)];
  const prefix = `.${basename(target)}.`;
  removeStale(dirname(target), prefix);
  const temporary = join(dirname(target), temporaryName(prefix));
  try {
    for (const entry of entries) write(view, source, entry, temporary);
    // Permissions last: a directory that forbids writing is filled before.
    for (const { path: from, stat } of entries
      .filter(({ stat: { type } }) => type === "directory")
      .reverse()) {
      chmodSync(join(temporary, posix.relative(source.path, from)), stat.mode & 0o777);
    }
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    if (!(error instanceof Error) || !("syscall" in error)) throw error;
    throw sporeError("SPORE_OUTPUT_WRITE", { file: target, problem: error.message }, { cause: error });
  }
  const bytes = entries.reduce((sum, { stat }) => sum + (stat.type === "file" ? stat.size : 0), 0);
  return { path: target, files: entries.length, bytes };
}

/** The tree, if all of it may be copied. */
function* checkedEntries(image: Image, view: ImageView, source: ViewEntry): Iterable<ViewEntry> {
  const most = FREE_BYTES + MOST_COPIES * image.layers.reduce((sum, { length }) => sum + length, 0);
  let [files, bytes] = [0, 0];
  for (const entry of view.walk(source.path)) {
    const { path, stat, target } = entry;
    if (stat.type === "other") throw refused(path, "is a device, pipe or socket, which is not copied");
    if (stat.type === "file") bytes += stat.size;
    if (++files > MOST_FILES || bytes > most) {
      throw damaged(image.path, "its files are larger than the image can hold");
    }
    if (target !== null && linkFor(source.path, path, target) === null) {
      throw refused(path, `is a link to ${JSON.stringify(target)}, out of what is copied`);
    }
    yield entry;
  }
}

function write(view: ImageView, source: ViewEntry, entry: ViewEntry, root: string): void {
  const { path, stat, target } = entry;
  const at = join(root, posix.relative(source.path, path));
  if (stat.type === "directory") mkdirSync(at, 0o700);
  else if (target !== null) symlinkSync(linkFor(source.path, path, target) ?? "", at);
  else {
    const fd = openSync(at, "wx", stat.mode & 0o777);
    try {
      for (const bytes of view.read(path)) {
        for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
      }
    } finally {
      closeSync(fd);
    }
  }
}

/** What a link at `path` says in a copy of the tree at `root`; null if it leads out of it. */
function linkFor(root: string, path: string, target: string): string | null {
  const folder = posix.dirname(path);
  const meant = posix.resolve(folder, target);
  const inside = root === "/" || meant === root || meant.startsWith(`${root}/`);
  return inside ? posix.relative(folder, meant) || "." : null;
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function refused(path: string, problem: string): Error {
  const next = "copy the directory that holds both, or the file itself";
  return sporeError("SPORE_IMAGE_PATH", { path, problem }, { next });
}
