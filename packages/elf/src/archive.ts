/** Archives of object files (`ar`, GNU form): members, and which of them defines a symbol. */
import { ElfError } from "./error.ts";
import { View } from "./view.ts";

/** One member. */
export interface ArchiveMember {
  readonly name: string;
  /** The file, sharing the archive's bytes. */
  readonly bytes: Uint8Array;
}

/** A checked archive. */
export interface Archive {
  readonly members: readonly ArchiveMember[];
  /** The index in `members` of the first member that defines a symbol. */
  readonly symbols: ReadonlyMap<string, number>;
}

const MAGIC = "!<arch>\n";
const HEADER_SIZE = 60;
/** Name (16 bytes), what is of no use here (32), size (10), end. */
const HEADER = /^(.{16}).{32}(?=.{10}`\n)(\d+) *`\n$/s;

/** A member as it lies in the archive, its long name not yet looked up. */
interface RawMember {
  /** Where its header begins: the symbol index refers to it. */
  readonly at: number;
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/** Reads an archive. Throws {@link ElfError} only. */
export function parseArchive(bytes: Uint8Array): Archive {
  const view = new View(bytes);
  const latin1 = new TextDecoder("latin1");
  const text = (offset: number, length: number): string =>
    latin1.decode(view.slice(offset, length, "an archive member"));
  if (view.length < MAGIC.length || text(0, MAGIC.length) !== MAGIC) {
    throw new ElfError("not-archive", "this is not an archive");
  }
  const raw = rawMembers(view, text);
  const names = raw.find(({ name }) => name === "//");
  const longNames = names ? text(names.offset, names.size) : "";
  const members: ArchiveMember[] = [];
  const byHeader = new Map<number, number>();
  for (const { at, name, offset, size } of raw) {
    if (name === "/" || name === "//") continue;
    byHeader.set(at, members.length);
    members.push({ name: fullName(name, longNames), bytes: view.bytes.subarray(offset, offset + size) });
  }
  const index = raw.find(({ name }) => name === "/");
  return { members, symbols: index ? symbolIndex(view, index, byHeader) : new Map() };
}

function rawMembers(view: View, text: (offset: number, length: number) => string): RawMember[] {
  const result: RawMember[] = [];
  let at = MAGIC.length;
  while (at < view.length) {
    const header = text(at, HEADER_SIZE);
    const [, name = "", digits = ""] = HEADER.exec(header) ?? [];
    if (digits === "") throw new ElfError("bad-archive", `the member header at offset ${at} is damaged`);
    const size = Number(digits);
    const offset = at + HEADER_SIZE;
    view.check(offset, size, "an archive member");
    result.push({ at, name: name.trimEnd(), offset, size });
    // Members begin at even offsets.
    at = offset + size + (size % 2);
  }
  return result;
}

function fullName(name: string, longNames: string): string {
  const long = /^\/(\d+)$/.exec(name)?.[1];
  if (long === undefined) return name.replace(/\/$/, "");
  const start = Number(long);
  const end = longNames.indexOf("/\n", start);
  if (end < 0) throw new ElfError("bad-archive", "a member's name lies outside the name table");
  return longNames.slice(start, end);
}

/** The symbol index: a count, that many member offsets (both big endian), that many names. */
function symbolIndex(
  view: View,
  { offset, size }: RawMember,
  byHeader: ReadonlyMap<number, number>,
): ReadonlyMap<string, number> {
  const bytes = view.slice(offset, size, "the symbol index");
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = size >= 4 ? data.getUint32(0) : 0;
  if (4 + 4 * count > size) throw new ElfError("bad-archive", "the symbol index is cut off");
  const names = new TextDecoder("latin1").decode(bytes.subarray(4 + 4 * count)).split("\0");
  const result = new Map<string, number>();
  for (let entry = 0; entry < count; entry++) {
    const name = names[entry];
    const member = byHeader.get(data.getUint32(4 + 4 * entry));
    if (name === undefined || member === undefined) {
      throw new ElfError("bad-archive", "the symbol index names no member");
    }
    if (!result.has(name)) result.set(name, member);
  }
  return result;
}
