/** Reads an image through a random-access source, trusting nothing in it. */
import { compareNames, readDirectoryBlock, type StoredEntry } from "./directory.ts";
import { ErofsError } from "./error.ts";
import {
  BLOCK,
  EntryType,
  Layout,
  LONGEST_LINK,
  ModeType,
  readInode,
  readSuperblock,
  SLOT,
  type StoredInode,
  type Superblock,
  viewOf,
} from "./format.ts";
import type { PlacedRange } from "./tree.ts";

/** Where an image is read from. */
export interface ImageSource {
  /** Length of the image in bytes. */
  readonly size: number;
  /** The bytes `[offset, offset + length)`; never asked beyond `size`. */
  read(offset: number, length: number): Uint8Array;
}

/** What `stat` shows. */
export interface ImageStat {
  readonly type: "file" | "directory" | "symlink" | "other";
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly links: number;
  /** Seconds since 1970. */
  readonly mtime: number;
}

/** An image that is open for reading. Paths are absolute; symbolic links are not followed. */
export interface ImageReader {
  stat(path: string): ImageStat;
  /** Names in a directory, in byte order, without "." and "..". */
  list(path: string): string[];
  readlink(path: string): string;
  /** Bytes of a file from `offset` on, at most `length`; fewer at its end. */
  read(path: string, offset?: number, length?: number): Uint8Array;
  /** Where a file's bytes lie in the image, in file order; holes are left out. */
  rangesOf(path: string): PlacedRange[];
  /** Every path with its stat, parents first, names in order. Checks all tables on the way. */
  walk(): Iterable<{ readonly path: string; readonly stat: ImageStat }>;
}

/** An inode and where it lies. */
interface Located {
  readonly number: number;
  readonly at: number;
  readonly inode: StoredInode;
}

/** No read makes more than this at once. */
const LONGEST_READ = 2 ** 31;
const HOLE = 0xffffffff;
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Opens an image: checks the superblock and that the root is a directory. */
export function openImage(source: ImageSource): ImageReader {
  return new Reader(source);
}

class Reader implements ImageReader {
  readonly #source: ImageSource;
  readonly #superblock: Superblock;
  /** Directories that a path led through, by inode number. */
  readonly #directories = new Map<number, StoredEntry[]>();

  constructor(source: ImageSource) {
    if (source.size < BLOCK) throw new ErofsError("not-erofs", "this is not an EROFS image");
    this.#source = source;
    this.#superblock = readSuperblock(source.read(0, BLOCK));
    if (this.#superblock.blocks * BLOCK > source.size) throw damaged("the image is cut off");
    if (kindOf(this.#inode(this.#superblock.root)) !== "directory") throw damaged("the root is no directory");
  }

  stat(path: string): ImageStat {
    return statOf(this.#find(path));
  }

  list(path: string): string[] {
    return this.#entries(this.#expect(path, "directory")).map((entry) => nameOf(entry));
  }

  readlink(path: string): string {
    return this.#target(this.#expect(path, "symlink"));
  }

  read(path: string, offset = 0, length: number = Number.MAX_SAFE_INTEGER): Uint8Array {
    const file = this.#expect(path, "file");
    const end = Math.min(file.inode.size, offset + length);
    if (!(offset >= 0) || offset >= end) return new Uint8Array();
    return this.#data(file, offset, end - offset);
  }

  rangesOf(path: string): PlacedRange[] {
    const file = this.#expect(path, "file");
    return [...this.#extents(file, 0, file.inode.size)];
  }

  *walk(): Iterable<{ path: string; stat: ImageStat }> {
    const root = this.#inode(this.#superblock.root);
    const seen = new Set<number>();
    const queue: { path: string; number: number; parent: number; type: number }[] = [
      { path: "/", number: root.number, parent: root.number, type: EntryType.directory },
    ];
    for (const { path, number, parent, type } of queue) {
      const located = this.#inode(number);
      const stat = statOf(located);
      if (stat.type !== typeName(type)) throw damaged(`${path} is not of the kind its directory says`);
      if (stat.type === "directory") {
        if (seen.has(number)) throw damaged(`${path} is a directory that is linked twice`);
        seen.add(number);
        const prefix = path === "/" ? "/" : `${path}/`;
        for (const entry of this.#entries(located, parent)) {
          queue.push({
            path: prefix + nameOf(entry),
            number: entry.number,
            parent: number,
            type: entry.type,
          });
        }
      } else if (stat.type === "symlink") {
        this.#target(located);
      } else if (stat.type === "file") {
        for (const _ of this.#extents(located, 0, stat.size));
      }
      yield { path, stat };
    }
  }

  #find(path: string): Located {
    let located = this.#inode(this.#superblock.root);
    for (const name of path.split("/").filter((part) => part !== "")) {
      const wanted = new TextEncoder().encode(name);
      const entry = kindOf(located) === "directory" ? this.#child(located, wanted) : undefined;
      if (!entry) throw new ErofsError("not-found", `no ${path} in the image`);
      located = this.#inode(entry.number);
    }
    return located;
  }

  #child(directory: Located, wanted: Uint8Array): StoredEntry | undefined {
    const entries = this.#directories.get(directory.number) ?? this.#entries(directory);
    this.#directories.set(directory.number, entries);
    let low = 0;
    let high = entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = entries[middle];
      const order = entry ? compareNames(entry.name, wanted) : 0;
      if (order === 0) return entry;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return undefined;
  }

  #expect(path: string, kind: ImageStat["type"]): Located {
    const located = this.#find(path);
    if (kindOf(located) !== kind) throw new ErofsError("wrong-kind", `${path} is not a ${kind}`);
    return located;
  }

  #inode(number: number): Located {
    const at = this.#superblock.metaBlock * BLOCK + number * SLOT;
    const end = this.#superblock.blocks * BLOCK;
    if (!Number.isSafeInteger(at) || at + SLOT > end) throw damaged("an inode lies outside the image");
    const bytes = this.#source.read(at, Math.min(64, end - at));
    return { number, at, inode: readInode(bytes, this.#superblock.time) };
  }

  /** A directory's entries without the dots, which must be there and right. */
  #entries(directory: Located, parent?: number): StoredEntry[] {
    const data = this.#data(directory, 0, directory.inode.size);
    const all: StoredEntry[] = [];
    for (let at = 0; at < data.length; at += BLOCK) {
      for (const entry of readDirectoryBlock(data.subarray(at, Math.min(at + BLOCK, data.length)))) {
        const previous = all.at(-1);
        if (previous && compareNames(previous.name, entry.name) >= 0) throw damaged("names are out of order");
        all.push(entry);
      }
    }
    const dots = all.filter((entry) => entry.name.length <= 2 && entry.name.every((byte) => byte === 0x2e));
    const [self, up] = dots;
    const right = self?.number === directory.number && (parent === undefined || up?.number === parent);
    if (dots.length !== 2 || !right) throw damaged("a directory has wrong dot entries");
    return all.filter((entry) => !dots.includes(entry));
  }

  #target(link: Located): string {
    const { size } = link.inode;
    if (size === 0 || size > LONGEST_LINK) throw damaged("a link has an impossible length");
    const bytes = this.#data(link, 0, size);
    if (bytes.includes(0)) throw damaged("a link holds a zero byte");
    return decode(bytes);
  }

  #data(located: Located, offset: number, length: number): Uint8Array {
    if (length > LONGEST_READ) throw new ErofsError("unsupported", "that many bytes are not read at once");
    // Extents are checked before memory is taken: a damaged size costs nothing.
    const extents = [...this.#extents(located, offset, length)];
    const bytes = new Uint8Array(length);
    for (const extent of extents) {
      bytes.set(this.#source.read(extent.imageOffset, extent.length), extent.offset - offset);
    }
    return bytes;
  }

  /** Where the bytes `[offset, offset + length)` lie; every range is inside the image. */
  *#extents({ inode, at }: Located, offset: number, length: number): Iterable<PlacedRange> {
    const end = offset + length;
    const tables = at + inode.headSize;
    if (inode.layout === Layout.chunkBased) {
      if ((inode.mode & ModeType.mask) !== ModeType.file) throw damaged("only files can be in chunks");
      yield* this.#chunks(inode, tables, offset, end);
      return;
    }
    const inline = inode.layout === Layout.flatInline;
    const tail = inline ? inode.size - (inode.size % BLOCK) : inode.size;
    if (offset < tail) {
      const until = Math.min(end, tail);
      const imageOffset = inode.location * BLOCK + offset;
      yield this.#checked({ offset, length: until - offset, imageOffset });
    }
    if (inline && end > tail) {
      if ((tables % BLOCK) + (inode.size - tail) > BLOCK) throw damaged("inline data crosses a block");
      const from = Math.max(offset, tail);
      yield this.#checked({ offset: from, length: end - from, imageOffset: tables + from - tail });
    }
  }

  *#chunks(inode: StoredInode, tables: number, offset: number, end: number): Iterable<PlacedRange> {
    const format = inode.location & 0xffff;
    if (format & ~0x3f) throw damaged("a file has an unknown chunk format");
    const chunk = BLOCK * 2 ** (format & 0x1f);
    const indexed = (format & 0x20) !== 0;
    const unit = indexed ? 8 : 4;
    const map = Math.ceil(tables / unit) * unit;
    const count = Math.ceil(inode.size / chunk) * unit;
    this.#checked({ offset: 0, length: count, imageOffset: map });
    const view = viewOf(this.#source.read(map, count));
    let pending: PlacedRange | undefined;
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / chunk);
      const next = Math.min(end, (index + 1) * chunk);
      if (indexed && view.getUint16(index * unit + 2, true) !== 0) {
        throw new ErofsError("unsupported", "the image keeps data on another device");
      }
      const block = view.getUint32(index * unit + unit - 4, true);
      if (block !== HOLE) {
        const imageOffset = block * BLOCK + (at - index * chunk);
        const range = this.#checked({ offset: at, length: next - at, imageOffset });
        if (pending && continues(pending, range)) {
          pending = { ...pending, length: pending.length + range.length };
        } else {
          if (pending) yield pending;
          pending = range;
        }
      }
      at = next;
    }
    if (pending) yield pending;
  }

  #checked(range: PlacedRange): PlacedRange {
    if (range.imageOffset + range.length > this.#superblock.blocks * BLOCK) {
      throw damaged("a file lies outside the image");
    }
    return range;
  }
}

/** Whether `next` follows `range` both in the file and in the image. */
function continues(range: PlacedRange, next: PlacedRange): boolean {
  return range.offset + range.length === next.offset && range.imageOffset + range.length === next.imageOffset;
}

function kindOf({ inode }: Located): ImageStat["type"] {
  switch (inode.mode & ModeType.mask) {
    case ModeType.file:
      return "file";
    case ModeType.directory:
      return "directory";
    case ModeType.symlink:
      return "symlink";
    default:
      return "other";
  }
}

function typeName(type: number): ImageStat["type"] {
  if (type === EntryType.file) return "file";
  if (type === EntryType.directory) return "directory";
  return type === EntryType.symlink ? "symlink" : "other";
}

function statOf(located: Located): ImageStat {
  const { mode, uid, gid, size, links, mtime } = located.inode;
  return { type: kindOf(located), mode: mode & 0o7777, uid, gid, size, links, mtime };
}

function nameOf(entry: StoredEntry): string {
  return decode(entry.name);
}

function decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new ErofsError("unsupported", "a name is not UTF-8");
  }
}

function damaged(what: string): ErofsError {
  return new ErofsError("damaged", `the image is damaged: ${what}`);
}
