/**
 * The tar archives that images travel in (POSIX ustar, with the extensions of
 * pax and GNU that other writers use for long names and large files). Nothing is
 * ever unpacked by name: reading gives a list of what lies where, and refuses
 * what no image has.
 */

/** One regular file of an archive. */
export interface TarEntry {
  readonly name: string;
  /** Where its bytes begin. */
  readonly offset: number;
  readonly size: number;
}

/** An archive that cannot be used: what is wrong with it, for people. */
export class TarError extends Error {}

/** Reads bytes of the archive; fewer than asked for only at its end. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

/** The unit of an archive. */
export const TAR_BLOCK = 512;
/** An image has a handful of files. */
const MOST_ENTRIES = 4096;
/** Of an extended header: a long name fits. */
const MOST_EXTENSION = 65_536;
/** Of zeros behind the end: writers fill up to 10 KiB. */
const MOST_TRAILER = 1 << 20;
const LARGEST_OCTAL = 8 ** 11 - 1;

/** True if the bytes begin like an archive. */
export function looksLikeTar(start: Uint8Array): boolean {
  return latin1(start, 257, 5) === "ustar";
}

/** The header of a regular file; nothing of the machine that writes it is in it. */
export function tarHeader(name: string, size: number): Uint8Array {
  const header = Buffer.alloc(TAR_BLOCK);
  if (name.length > 100) throw new Error("the name is too long for an archive");
  header.write(name, 0, "latin1");
  header.write("0000644\0", 100, "latin1");
  header.write("0000000\0", 108, "latin1");
  header.write("0000000\0", 116, "latin1");
  if (size <= LARGEST_OCTAL) header.write(`${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  else {
    header[124] = 0x80;
    header.writeBigUInt64BE(BigInt(size), 128);
  }
  header.write("00000000000\0", 136, "latin1");
  header.write("0", 156, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  header.write(checksumField(header), 148, "latin1");
  return header;
}

/** The regular files of an archive of `size` bytes. Throws TarError. */
export function readTar(read: ReadAt, size: number): readonly TarEntry[] {
  if (size % TAR_BLOCK !== 0) throw new TarError("it does not end with a whole block");
  const entries = new Map<string, TarEntry>();
  let extension: Extension = {};
  let seen = 0;
  for (let at = 0; ; ) {
    const block = read(at, TAR_BLOCK);
    if (block.length < TAR_BLOCK) throw new TarError("it is cut short");
    if (isZero(block)) {
      checkTrailer(read, at, size);
      return [...entries.values()];
    }
    if (++seen > MOST_ENTRIES) throw new TarError(`it has more than ${MOST_ENTRIES} entries`);
    const header = readHeader(block, extension);
    const offset = at + TAR_BLOCK;
    const end = offset + header.size;
    const next = Math.ceil(end / TAR_BLOCK) * TAR_BLOCK;
    if (!Number.isSafeInteger(next) || next > size) throw new TarError("it is cut short");
    if (!isZero(read(end, next - end))) throw new TarError("there is something between its entries");
    if (header.type in EXTENSIONS) {
      if (header.size > MOST_EXTENSION) throw new TarError("it has an extended header without end");
      extension = { ...extension, ...readExtension(header.type, read(offset, header.size)) };
    } else {
      const name = checkedName(header.name);
      if (header.type === "5") {
        if (header.size !== 0) throw new TarError("it has a directory with content");
      } else {
        if (entries.has(name)) throw new TarError(`it has two entries ${shown(name)}`);
        entries.set(name, { name, offset, size: header.size });
      }
      extension = {};
    }
    at = next;
  }
}

/** What extended headers say of the next entry. */
interface Extension {
  readonly name?: string;
  readonly size?: number;
}

/** Types of headers that speak of the next entry: pax, pax for all, GNU's long name. */
const EXTENSIONS: Readonly<Record<string, true>> = { x: true, g: true, L: true };
/** What an entry may be, besides a file ("0", or NUL in old archives) and a directory ("5"). */
const REFUSED: Readonly<Record<string, string>> = {
  "1": "a hard link",
  "2": "a symbolic link",
  "3": "a character device",
  "4": "a block device",
  "6": "a pipe",
  K: "a link",
  S: "a sparse file",
};

function readHeader(block: Uint8Array, extension: Extension): { name: string; type: string; size: number } {
  if (!looksLikeTar(block)) throw new TarError("it has an entry without a header");
  if (latin1(block, 148, 8) !== checksumField(block)) throw new TarError("the checksum of a header is wrong");
  const type = latin1(block, 156, 1).replace("\0", "0");
  const prefix = latin1(block, 257, 6) === "ustar\0" ? textAt(block, 345, 155) : "";
  const own = textAt(block, 0, 100);
  const name = extension.name ?? (prefix === "" ? own : `${prefix}/${own}`);
  if (type in REFUSED) throw new TarError(`${shown(name)} is ${REFUSED[type]}`);
  if (type !== "0" && type !== "5" && !(type in EXTENSIONS)) {
    throw new TarError(`${shown(name)} is of an unknown kind`);
  }
  return { name, type, size: type in EXTENSIONS ? sizeOf(block) : (extension.size ?? sizeOf(block)) };
}

function sizeOf(block: Uint8Array): number {
  if (((block[124] ?? 0) & 0x80) === 0) return octal(block, 124, 12);
  let size = 0n;
  for (const byte of block.subarray(125, 136)) size = (size << 8n) | BigInt(byte);
  if (block[124] !== 0x80 || size > Number.MAX_SAFE_INTEGER)
    throw new TarError("it has an entry without end");
  return Number(size);
}

/** Records of a pax header ("LENGTH KEY=VALUE\n"), or a long name. */
function readExtension(type: string, bytes: Uint8Array): Extension {
  const text = Buffer.from(bytes).toString("utf8");
  if (type === "L") return { name: text.replace(/\0+$/, "") };
  // What holds for all entries (comments, dates) says nothing that is needed here.
  if (type === "g") return {};
  const result: { name?: string; size?: number } = {};
  let rest = Buffer.from(bytes);
  while (rest.length > 0) {
    const match = /^(\d{1,6}) ([^=]+)=/.exec(rest.subarray(0, 512).toString("latin1"));
    const length = Number(match?.[1]);
    if (!match || length < match[0].length + 1 || length > rest.length || rest[length - 1] !== 0x0a) {
      throw new TarError("it has a broken extended header");
    }
    const value = rest.subarray(match[0].length, length - 1).toString("utf8");
    if (match[2] === "path") result.name = value;
    if (match[2] === "size") {
      result.size = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
      if (Number.isNaN(result.size)) throw new TarError("it has a broken extended header");
    }
    rest = rest.subarray(length);
  }
  return result;
}

/** A relative name without ".." and NUL; a leading "./" is dropped. */
function checkedName(name: string): string {
  if (name.startsWith("/")) throw new TarError(`${shown(name)} is an absolute path`);
  const parts = name.split("/");
  if (parts.includes("..")) throw new TarError(`${shown(name)} leads out of the archive`);
  if (name === "" || name.includes("\0")) throw new TarError("it has an entry without a name");
  return parts.filter((part) => part !== "." && part !== "").join("/");
}

function checkTrailer(read: ReadAt, from: number, size: number): void {
  const length = size - from;
  if (length < 2 * TAR_BLOCK) throw new TarError("it is cut short");
  if (length > MOST_TRAILER || !isZero(read(from, length))) {
    throw new TarError("there is something behind its end");
  }
}

/** The sum of a header's bytes, its own field taken as spaces, as all writers write it. */
function checksumField(header: Uint8Array): string {
  let sum = 0;
  for (const [at, byte] of header.entries()) sum += at >= 148 && at < 156 ? 0x20 : byte;
  return `${sum.toString(8).padStart(6, "0")}\0 `;
}

function octal(block: Uint8Array, at: number, length: number): number {
  const text = textAt(block, at, length).trim();
  if (!/^[0-7]+$/.test(text)) throw new TarError("it has a header with a wrong number");
  return Number.parseInt(text, 8);
}

function textAt(block: Uint8Array, at: number, length: number): string {
  const bytes = Buffer.from(block.subarray(at, at + length));
  const end = bytes.indexOf(0);
  return bytes.subarray(0, end < 0 ? length : end).toString("utf8");
}

function latin1(bytes: Uint8Array, at: number, length: number): string {
  return Buffer.from(bytes.subarray(at, at + length)).toString("latin1");
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function shown(name: string): string {
  return JSON.stringify(name.slice(0, 200));
}
