/** From a flat list of paths to a checked tree with sorted names. */
import { compareNames } from "./directory.ts";
import { ErofsError } from "./error.ts";
import { EntryType, LONGEST_LINK, LONGEST_NAME, ModeType } from "./format.ts";
import type { ImageOptions, TreeEntry } from "./tree.ts";

/** One file, directory or link of the image to be. */
export interface Node {
  readonly path: string;
  readonly name: Uint8Array;
  readonly entry: TreeEntry;
  /** Type and permission bits. */
  readonly mode: number;
  /** One of EntryType. */
  readonly type: number;
  readonly uid: number;
  readonly gid: number;
  /** Directories: the children by name. */
  readonly children: Node[];
  /** The directory it lies in; the root lies in itself. */
  parent: Node | undefined;
  /** Length of file content or link target; 0 for directories. */
  readonly contentSize: number;
  /** Links: the target. */
  readonly target: Uint8Array;
}

const encoder = new TextEncoder();

/**
 * All nodes, parents before children and names in order: the root, its
 * children, then the children of those. Missing parents become directories.
 */
export function buildNodes(entries: readonly TreeEntry[], options: ImageOptions): Node[] {
  const byPath = new Map<string, Node>();
  for (const entry of entries) {
    checkPath(entry.path);
    if (byPath.has(entry.path)) throw bad(entry.path, "is listed twice");
    byPath.set(entry.path, makeNode(entry, options));
  }
  const root = ensureDirectory("/", byPath, options);
  for (const node of [...byPath.values()]) {
    if (node !== root) attach(node, byPath, options);
  }
  const ordered: Node[] = [root];
  for (const node of ordered) {
    node.children.sort((a, b) => compareNames(a.name, b.name));
    for (const child of node.children) ordered.push(child);
  }
  return ordered;
}

function attach(node: Node, byPath: Map<string, Node>, options: ImageOptions): void {
  let child = node;
  while (child.parent === undefined && child.path !== "/") {
    const parentPath = child.path.slice(0, child.path.lastIndexOf("/")) || "/";
    const parent = ensureDirectory(parentPath, byPath, options);
    child.parent = parent;
    parent.children.push(child);
    child = parent;
  }
}

function ensureDirectory(path: string, byPath: Map<string, Node>, options: ImageOptions): Node {
  const existing = byPath.get(path);
  if (existing) {
    if (existing.type !== EntryType.directory) throw bad(path, "has entries below it but is no directory");
    return existing;
  }
  const made = makeNode({ type: "directory", path }, options);
  byPath.set(path, made);
  return made;
}

function makeNode(entry: TreeEntry, options: ImageOptions): Node {
  const base = {
    path: entry.path,
    name: encoder.encode(entry.path.slice(entry.path.lastIndexOf("/") + 1)),
    entry,
    uid: checkId(entry.uid ?? options.uid ?? 0, entry.path),
    gid: checkId(entry.gid ?? options.gid ?? 0, entry.path),
    children: [],
    parent: undefined,
    contentSize: 0,
    target: new Uint8Array(),
  };
  if (base.name.length > LONGEST_NAME) throw bad(entry.path, "has a name longer than 255 bytes");
  switch (entry.type) {
    case "directory": {
      const mode = ModeType.directory | checkMode(entry.mode ?? 0o755, entry.path);
      return { ...base, type: EntryType.directory, mode };
    }
    case "file": {
      const mode = ModeType.file | checkMode(entry.mode ?? 0o644, entry.path);
      const contentSize = entry.content.reduce((sum, part) => sum + part.length, 0);
      if (!Number.isSafeInteger(contentSize)) throw bad(entry.path, "has content of no valid length");
      return { ...base, type: EntryType.file, mode, contentSize };
    }
    case "symlink": {
      const target = encoder.encode(entry.target);
      const fine = target.length > 0 && target.length <= LONGEST_LINK && !target.includes(0);
      if (!fine || !entry.target.isWellFormed()) throw bad(entry.path, "is a link with an invalid target");
      const mode = ModeType.symlink | 0o777;
      return { ...base, type: EntryType.symlink, mode, target, contentSize: target.length };
    }
  }
}

function checkPath(path: string): void {
  if (path === "/") return;
  const fine =
    path.startsWith("/") &&
    path.isWellFormed() &&
    !path.includes("\0") &&
    path
      .slice(1)
      .split("/")
      .every((name) => name !== "" && name !== "." && name !== "..");
  if (!fine) throw bad(path, "is no absolute path in plain form");
}

function checkMode(mode: number, path: string): number {
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) throw bad(path, "has an invalid mode");
  return mode;
}

function checkId(id: number, path: string): number {
  if (!Number.isInteger(id) || id < 0 || id >= 2 ** 32) throw bad(path, "has an invalid owner");
  return id;
}

function bad(path: string, what: string): ErofsError {
  return new ErofsError("bad-input", `${JSON.stringify(path)} ${what}`);
}
