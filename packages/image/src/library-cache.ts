/**
 * /etc/ld.so.cache, read from the host and written for the guest.
 *
 * Format "glibc-ld.so.cache1.1" (glibc's sysdeps/generic/dl-cache.h): a 48-byte
 * header, 24-byte entries {flags, key, value, unused, hwcap} in descending
 * order of their names, then the strings; key and value count from the header.
 */

const MAGIC = "glibc-ld.so.cache1.1";
const HEADER_SIZE = 48;
const ENTRY_SIZE = 24;
/** A library for the GNU C library 6 on 64-bit x86. */
const FLAGS_X86_64 = 0x0303;
const LITTLE_ENDIAN = 2;

/** Names to paths, for 64-bit x86 without special processor features. */
export function readLibraryCache(bytes: Uint8Array): Map<string, string> {
  const result = new Map<string, string>();
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = buffer.indexOf(MAGIC, 0, "latin1");
  if (start < 0 || buffer.length < start + HEADER_SIZE) return result;
  const cache = buffer.subarray(start);
  const count = cache.readUInt32LE(20);
  if (HEADER_SIZE + count * ENTRY_SIZE > cache.length) return result;
  for (let index = 0; index < count; index++) {
    const at = HEADER_SIZE + index * ENTRY_SIZE;
    if (cache.readUInt32LE(at) !== FLAGS_X86_64 || cache.readBigUInt64LE(at + 16) !== 0n) continue;
    const name = textAt(cache, cache.readUInt32LE(at + 4));
    const path = textAt(cache, cache.readUInt32LE(at + 8));
    if (name !== "" && path !== "" && !result.has(name)) result.set(name, path);
  }
  return result;
}

/** A cache with exactly these libraries, so that ld.so finds each at the first try. */
export function writeLibraryCache(libraries: ReadonlyMap<string, string>): Uint8Array {
  const entries = [...libraries].sort(([a], [b]) => compareLibraryNames(b, a));
  const stringsAt = HEADER_SIZE + entries.length * ENTRY_SIZE;
  const header = Buffer.alloc(stringsAt);
  const strings: Buffer[] = [];
  let end = stringsAt;
  const add = (text: string): number => {
    const bytes = Buffer.from(`${text}\0`);
    strings.push(bytes);
    end += bytes.length;
    return end - bytes.length;
  };
  for (const [index, [name, path]] of entries.entries()) {
    const at = HEADER_SIZE + index * ENTRY_SIZE;
    header.writeUInt32LE(FLAGS_X86_64, at);
    header.writeUInt32LE(add(name), at + 4);
    header.writeUInt32LE(add(path), at + 8);
  }
  header.write(MAGIC, 0, "latin1");
  header.writeUInt32LE(entries.length, 20);
  header.writeUInt32LE(end - stringsAt, 24);
  header.writeUInt8(LITTLE_ENDIAN, 28);
  return Buffer.concat([header, ...strings]);
}

/** The order that ld.so's binary search expects: digit runs compare as numbers. */
export function compareLibraryNames(a: string, b: string): number {
  let i = 0;
  let j = 0;
  while (i < a.length) {
    const x = numberAt(a, i);
    const y = numberAt(b, j);
    if (x !== null && y !== null) {
      if (x.value !== y.value) return x.value - y.value;
      i += x.length;
      j += y.length;
    } else if (x !== null) {
      return 1;
    } else if (y !== null) {
      return -1;
    } else {
      const difference = a.charCodeAt(i) - (j < b.length ? b.charCodeAt(j) : 0);
      if (difference !== 0) return difference;
      i++;
      j++;
    }
  }
  return j < b.length ? -1 : 0;
}

function numberAt(text: string, at: number): { value: number; length: number } | null {
  const match = /^\d+/.exec(text.slice(at));
  return match ? { value: Number(match[0]), length: match[0].length } : null;
}

function textAt(buffer: Buffer, at: number): string {
  const end = buffer.indexOf(0, at);
  return at >= buffer.length || end < 0 ? "" : buffer.toString("utf8", at, end);
}
