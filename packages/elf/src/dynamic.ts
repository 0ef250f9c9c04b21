/** The dynamic section: which libraries a file needs and where it looks for them. */
import { ElfError } from "./error.ts";
import { type ElfFile, fileEnd, fileOffset, SegmentType, segmentOfType } from "./file.ts";

const Tag = {
  null: 0,
  needed: 1,
  hash: 4,
  strtab: 5,
  symtab: 6,
  strsz: 10,
  syment: 11,
  soname: 14,
  rpath: 15,
  runpath: 29,
  gnuHash: 0x6ffffef5,
  flags: 30,
  flags1: 0x6ffffffb,
} as const;

const ENTRY_SIZE = 16;
/** Libraries that one file may need, and the length of a name or search path: far more than any has. */
const MOST_NEEDED = 4096;
const LONGEST_TEXT: number = 64 << 10;

/** What the dynamic section says; addresses are link-time virtual addresses. */
export interface DynamicInfo {
  /** DT_NEEDED, in order. */
  readonly needed: readonly string[];
  readonly soname?: string;
  /** DT_RPATH, split at colons; empty elements dropped. */
  readonly rpath: readonly string[];
  /** DT_RUNPATH, split likewise. */
  readonly runpath: readonly string[];
  /** DT_FLAGS_1 has DF_1_PIE: an executable although the type says shared object. */
  readonly pie: boolean;
  /** Address of the dynamic symbol table, if there is one. */
  readonly symbolTable?: number;
  /** File offset and size of the dynamic string table. */
  readonly strings: { readonly offset: number; readonly size: number };
  /** Address of the DT_HASH table. */
  readonly hash?: number;
  /** Address of the DT_GNU_HASH table. */
  readonly gnuHash?: number;
}

/** The dynamic section, or undefined for a file without one. */
export function readDynamic(elf: ElfFile): DynamicInfo | undefined {
  const segment = segmentOfType(elf, SegmentType.dynamic);
  if (!segment) return undefined;
  const { values, needed } = collect(elf, segment.offset, segment.fileSize);
  const strings = stringTable(elf, values);
  const text = (offset: number): string => {
    const start = strings.offset + offset;
    return elf.view.string(start, Math.min(strings.offset + strings.size, start + LONGEST_TEXT));
  };
  const list = (tag: number): string[] => {
    const offset = values.get(tag);
    if (offset === undefined) return [];
    return text(offset)
      .split(":")
      .filter((element) => element !== "");
  };
  const entry = values.get(Tag.syment);
  if (entry !== undefined && entry !== 24) {
    throw new ElfError("bad-dynamic", "the dynamic symbols have an unknown size");
  }
  const soname = values.get(Tag.soname);
  const symbolTable = values.get(Tag.symtab);
  const hash = values.get(Tag.hash);
  const gnuHash = values.get(Tag.gnuHash);
  return {
    needed: needed.map(text),
    ...(soname !== undefined && { soname: text(soname) }),
    rpath: list(Tag.rpath),
    runpath: list(Tag.runpath),
    pie: ((values.get(Tag.flags1) ?? 0) & 0x0800_0000) !== 0,
    ...(symbolTable !== undefined && { symbolTable }),
    strings,
    ...(hash !== undefined && { hash }),
    ...(gnuHash !== undefined && { gnuHash }),
  };
}

interface Collected {
  values: Map<number, number>;
  needed: number[];
}

function collect(elf: ElfFile, offset: number, size: number): Collected {
  const values = new Map<number, number>();
  const needed: number[] = [];
  for (let at = offset; at + ENTRY_SIZE <= offset + size; at += ENTRY_SIZE) {
    const tag = elf.view.u64OrUndefined(at);
    if (tag === Tag.null) return { values, needed };
    // Tags and values of other systems may use all 64 bits; none matters here.
    const value = elf.view.u64OrUndefined(at + 8);
    if (tag === Tag.needed && value === undefined) {
      throw new ElfError("bad-string", "the name of a needed library lies outside the string table");
    }
    if (tag === undefined || value === undefined) continue;
    if (tag === Tag.needed && needed.length >= MOST_NEEDED) {
      throw new ElfError("bad-dynamic", `the file needs more than ${MOST_NEEDED} libraries`);
    }
    if (tag === Tag.needed) needed.push(value);
    else if (!values.has(tag)) values.set(tag, value);
  }
  return { values, needed };
}

function stringTable(elf: ElfFile, values: Map<number, number>): { offset: number; size: number } {
  const address = values.get(Tag.strtab);
  if (address === undefined) return { offset: 0, size: 0 };
  const offset = fileOffset(elf, address, 0);
  const size = values.get(Tag.strsz);
  const room = fileEnd(elf, address) - offset;
  if (size !== undefined && size > room) {
    throw new ElfError("bad-dynamic", "the dynamic string table is cut off");
  }
  return { offset, size: size ?? room };
}
