/** The files of a layer while it is being put together. */

import {
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
  statSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { ContentPart, TreeEntry } from "@spore/erofs";
import { looksLikeElf, readable, readStart } from "./host-file.ts";
import type { WantedRange } from "./layout.ts";

/** Where a file's bytes come from. */
export type FileSource =
  /** `original`: the host file that the bytes were made from. */
  | { readonly bytes: Uint8Array; readonly original?: string }
  /** Path on the host, read when the layer is written. */
  | { readonly host: string; readonly size: number };

type GuestNode =
  | { readonly type: "directory"; readonly mode: number }
  | { readonly type: "symlink"; readonly target: string }
  | {
      readonly type: "file";
      readonly mode: number;
      readonly source: FileSource;
      readonly placement?: readonly WantedRange[];
    };

/** An ELF file of a layer: a program, a library, an add-on. */
export interface LayerObject {
  /** Guest path. */
  readonly path: string;
  /** Where it is on the host, as it was before anything in it was rewritten. */
  readonly host: string;
}

/** As many as Linux follows in one path. */
const SYMLINK_LIMIT = 40;

/**
 * A tree of guest paths. Parents appear by themselves; a path through a
 * symlink of the tree lands where the symlink leads, as it will in the guest.
 */
export class GuestTree {
  readonly #nodes: Map<string, GuestNode> = new Map([["/", { type: "directory", mode: 0o755 }]]);

  /** Creates a directory; one that is there keeps its files and takes the new mode. */
  directory(path: string, mode: number = 0o755): void {
    const at = this.#settle(path);
    const there = this.#nodes.get(at);
    if (there?.type === "symlink") this.directory(resolve(dirname(at), there.target), mode);
    else this.#nodes.set(at, { type: "directory", mode });
  }

  /** Creates or replaces a file; gives the path it really has. */
  file(
    path: string,
    source: FileSource,
    mode: number = 0o644,
    placement: readonly WantedRange[] = [],
  ): string {
    const at = this.#settle(path);
    this.#nodes.set(at, { type: "file", mode, source, ...(placement.length > 0 && { placement }) });
    return at;
  }

  /** Creates a small text file. */
  text(path: string, text: string): void {
    this.file(path, { bytes: Buffer.from(text) });
  }

  /** Creates a symlink unless the path already leads to the same place. */
  symlink(path: string, target: string): void {
    const at = this.#settle(path);
    if (this.#nodes.get(at)?.type === "directory") return;
    this.#nodes.set(at, { type: "symlink", target });
  }

  /** The node at a path, symlinks followed; undefined if there is none. */
  find(path: string): { readonly path: string; readonly type: "directory" | "file" } | undefined {
    let at = this.#settle(path, false);
    for (let count = 0; count < SYMLINK_LIMIT; count++) {
      const node = this.#nodes.get(at);
      if (node?.type !== "symlink") return node && { path: at, type: node.type };
      at = this.#settle(resolve(dirname(at), node.target), false);
    }
    return undefined;
  }

  /** The host file that a guest path comes from, if it does. */
  hostSource(path: string): string | undefined {
    const found = this.find(path);
    const node = found && this.#nodes.get(found.path);
    return node?.type === "file" && "host" in node.source ? node.source.host : undefined;
  }

  /** Paths of all files, sorted. */
  files(): string[] {
    return [...this.#nodes]
      .filter(([, node]) => node.type === "file")
      .map(([path]) => path)
      .sort();
  }

  /** Programs, libraries and add-ons, by path. */
  objects(): LayerObject[] {
    return [...this.#nodes]
      .flatMap(([path, node]) => {
        if (node.type !== "file") return [];
        const host = "host" in node.source ? node.source.host : node.source.original;
        // Reading the start of every file would take longer than the rest: what is loaded is named so or executable.
        const isLikely = (node.mode & 0o111) !== 0 || /\.node$|\.so(\.|$)/.test(path);
        return host !== undefined && isLikely && looksLikeElf(readStart(host, 4)) ? [{ path, host }] : [];
      })
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /**
   * Adds a host file at its own path together with the symlinks that lead to
   * it. `source` stands in for its bytes. Gives its real path.
   */
  hostFile(path: string, source?: FileSource, placement: readonly WantedRange[] = []): string {
    let at = "/";
    let rest = resolve(path).split("/").filter(Boolean);
    for (let count = 0; rest.length > 0; ) {
      const [name = "", ...after] = rest;
      at = join(at, name);
      rest = after;
      if (!lstatSync(at).isSymbolicLink()) continue;
      if (++count > SYMLINK_LIMIT) throw new Error(`${path}: too many symbolic links`);
      const target = readlinkSync(at);
      this.symlink(at, target);
      const from = target.startsWith("/") ? [] : dirname(at).split("/").filter(Boolean);
      rest = [...from, ...target.split("/").filter((part) => part !== "" && part !== "."), ...rest];
      rest = resolve("/", ...rest)
        .split("/")
        .filter(Boolean);
      at = "/";
    }
    const stat = statSync(at);
    const own = source && "bytes" in source ? { ...source, original: at } : source;
    return this.file(at, own ?? { host: at, size: stat.size }, fileMode(stat.mode), placement);
  }

  /**
   * Adds a host file or directory tree at a guest path. Symlinks inside stay
   * symlinks; the path itself is followed. `note` hears of every host path.
   */
  graft(host: string, guest: string, note: (path: string) => void, skip?: (path: string) => boolean): void {
    note(host);
    const stat = statSync(host);
    if (stat.isFile()) {
      this.file(guest, { host: realpathSync(host), size: stat.size }, fileMode(stat.mode));
      return;
    }
    if (!stat.isDirectory()) return;
    this.directory(guest);
    for (const entry of readdirSync(host, { withFileTypes: true })) {
      const from = join(host, entry.name);
      const to = join(guest, entry.name);
      if (skip?.(from)) continue;
      if (entry.isSymbolicLink()) {
        note(from);
        this.symlink(to, readlinkSync(from));
      } else if (entry.isDirectory() || entry.isFile()) {
        this.graft(from, to, note, skip);
      }
    }
  }

  /** The tree as the EROFS writer takes it. */
  entries(): TreeEntry[] {
    const result: TreeEntry[] = [];
    for (const [path, node] of [...this.#nodes].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (node.type === "directory") result.push({ type: "directory", path, mode: node.mode });
      else if (node.type === "symlink") result.push({ type: "symlink", path, target: node.target });
      else {
        const { mode, placement } = node;
        const content = contentOf(node.source);
        result.push({ type: "file", path, mode, content, ...(placement && { placement }) });
      }
    }
    return result;
  }

  /** Follows symlinks in the parents of a path; creates missing parents if told to. */
  #settle(path: string, create: boolean = true): string {
    let at = "/";
    let rest = resolve("/", path).split("/").filter(Boolean);
    for (let count = 0; rest.length > 1; ) {
      const [name = "", ...after] = rest;
      at = join(at, name);
      rest = after;
      const node = this.#nodes.get(at);
      if (node?.type === "symlink") {
        if (++count > SYMLINK_LIMIT) throw new Error(`${path}: too many symbolic links`);
        rest = resolve(dirname(at), node.target, ...rest)
          .split("/")
          .filter(Boolean);
        at = "/";
      } else if (create && node?.type !== "directory") {
        this.#nodes.set(at, { type: "directory", mode: 0o755 });
      }
    }
    return join(at, rest[0] ?? "");
  }
}

/** Owner, group and dates do not travel; of the mode only "may be executed" does. */
function fileMode(mode: number): number {
  return (mode & 0o111) === 0 ? 0o644 : 0o755;
}

function contentOf(source: FileSource): ContentPart[] {
  if ("bytes" in source) return source.bytes.length === 0 ? [] : [source.bytes];
  const { host, size } = source;
  const read = (offset: number, length: number): Uint8Array =>
    readable(host, () => readRange(host, offset, length));
  return size === 0 ? [] : [{ length: size, read }];
}

function readRange(host: string, offset: number, length: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(length);
  const fd = openSync(host, "r");
  try {
    let done = 0;
    while (done < length) {
      const count = readSync(fd, bytes, done, length - done, offset + done);
      if (count === 0) throw new Error(`${basename(host)} became shorter while it was read`);
      done += count;
    }
  } finally {
    closeSync(fd);
  }
  return bytes;
}
