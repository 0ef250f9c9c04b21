/** Directory blocks: entry headers first, names behind them, both in name order. */
import { ErofsError } from "./error.ts";
import { BLOCK, DIRENT_SIZE, LONGEST_NAME, viewOf } from "./format.ts";

/** A name in a directory; `name` is UTF-8. */
export interface NamedEntry {
  readonly name: Uint8Array;
  /** One of EntryType. */
  readonly type: number;
}

/** Order of names in a directory: byte by byte. */
export function compareNames(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Splits sorted entries into blocks; a block holds whole entries. */
export function directoryBlocks<T extends NamedEntry>(entries: readonly T[]): T[][] {
  const blocks: T[][] = [];
  let room = 0;
  for (const entry of entries) {
    const size = DIRENT_SIZE + entry.name.length;
    if (size > room) {
      blocks.push([]);
      room = BLOCK;
    }
    blocks.at(-1)?.push(entry);
    room -= size;
  }
  return blocks;
}

/** Size of a directory's data: full blocks, and the used part of the last one. */
export function directorySize(blocks: readonly (readonly NamedEntry[])[]): number {
  const last = blocks.at(-1) ?? [];
  const used = last.reduce((sum, entry) => sum + DIRENT_SIZE + entry.name.length, 0);
  return Math.max(0, blocks.length - 1) * BLOCK + used;
}

/** Writes one block at the start of `bytes`; `numberOf` gives the inode number of an entry. */
export function writeDirectoryBlock<T extends NamedEntry>(
  bytes: Uint8Array,
  entries: readonly T[],
  numberOf: (entry: T) => number,
): void {
  const view = viewOf(bytes);
  let nameAt = entries.length * DIRENT_SIZE;
  entries.forEach((entry, index) => {
    const at = index * DIRENT_SIZE;
    view.setBigUint64(at, BigInt(numberOf(entry)), true);
    view.setUint16(at + 8, nameAt, true);
    view.setUint8(at + 10, entry.type);
    bytes.set(entry.name, nameAt);
    nameAt += entry.name.length;
  });
}

/** One entry as read. */
export interface StoredEntry extends NamedEntry {
  /** Inode number. */
  readonly number: number;
}

/** Reads one block of a directory, or the used part of its last one. */
export function readDirectoryBlock(bytes: Uint8Array): StoredEntry[] {
  const view = viewOf(bytes);
  if (bytes.length < DIRENT_SIZE) throw damaged();
  const first = view.getUint16(8, true);
  if (first === 0 || first % DIRENT_SIZE !== 0 || first > bytes.length) throw damaged();
  const count = first / DIRENT_SIZE;
  const entries: StoredEntry[] = [];
  for (let index = 0; index < count; index++) {
    const at = index * DIRENT_SIZE;
    const start = view.getUint16(at + 8, true);
    const last = index === count - 1;
    const end = last ? bytes.length : view.getUint16(at + DIRENT_SIZE + 8, true);
    if (start < first || end > bytes.length || start >= end) throw damaged();
    let name = bytes.subarray(start, end);
    // Only the last name may be followed by padding.
    const nul = name.indexOf(0);
    if (nul >= 0) {
      if (!last) throw damaged();
      name = name.subarray(0, nul);
    }
    if (name.length === 0 || name.length > LONGEST_NAME || name.includes(0x2f)) throw damaged();
    const number = Number(view.getBigUint64(at, true));
    if (!Number.isSafeInteger(number)) throw damaged();
    entries.push({ name, type: view.getUint8(at + 10), number });
  }
  return entries;
}

function damaged(): ErofsError {
  return new ErofsError("damaged", "a directory contradicts itself");
}
