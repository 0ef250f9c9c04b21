/** Symbol tables: names to addresses and back. */
import type { DynamicInfo } from "./dynamic.ts";
import { readDynamic } from "./dynamic.ts";
import { ElfError } from "./error.ts";
import { type ElfFile, fileEnd, fileOffset } from "./file.ts";
import { readSections, type Section, SectionType } from "./sections.ts";

/** Symbol types (low half of st_info). */
export const SymbolType = {
  none: 0,
  object: 1,
  function: 2,
  section: 3,
  file: 4,
  tls: 6,
  ifunc: 10,
} as const;

/** Symbol bindings (high half of st_info). */
export const SymbolBinding = { local: 0, global: 1, weak: 2 } as const;

/** One symbol. */
export interface ElfSymbol {
  readonly name: string;
  /** st_value; an address in programs and libraries. */
  readonly address: number;
  readonly size: number;
  /** One of {@link SymbolType}, or another value. */
  readonly type: number;
  /** One of {@link SymbolBinding}, or another value. */
  readonly binding: number;
  /** st_shndx: 0 = undefined, 0xfff1 = absolute. */
  readonly section: number;
}

/** A symbol and how far behind its start an address lies. */
export interface SymbolHit {
  readonly symbol: ElfSymbol;
  readonly offset: number;
}

const ENTRY_SIZE = 24;

/** Where a table lies in the file. */
interface TableRange {
  offset: number;
  count: number;
  stringOffset: number;
  stringSize: number;
}

/** The defined symbols by address; of several at one address the global ones last. */
interface AddressIndex {
  starts: Float64Array;
  sizes: Float64Array;
  indices: Uint32Array;
  /** Size of the largest symbol: how far back a search must look. */
  longest: number;
}

/** A symbol table; names are decoded only when asked for. */
export class SymbolTable {
  readonly #elf: ElfFile;
  readonly #range: TableRange;
  #byAddress: AddressIndex | undefined;

  constructor(elf: ElfFile, range: TableRange) {
    this.#elf = elf;
    this.#range = range;
  }

  /** Number of symbols, the empty one at index 0 included. */
  get count(): number {
    return this.#range.count;
  }

  /** The symbol at an index. A value that a double cannot hold reads as 0. */
  at(index: number): ElfSymbol {
    const { view } = this.#elf;
    const { stringOffset, stringSize } = this.#range;
    const name = view.u32(this.#entry(index));
    return {
      name: name === 0 ? "" : view.string(stringOffset + name, stringOffset + stringSize),
      ...this.bounds(index),
    };
  }

  /** A symbol without its name, which takes the longest to read. */
  bounds(index: number): Omit<ElfSymbol, "name"> {
    const at = this.#entry(index);
    const { view } = this.#elf;
    const info = view.u8(at + 4);
    return {
      address: view.u64OrUndefined(at + 8) ?? 0,
      size: view.u64OrUndefined(at + 16) ?? 0,
      type: info & 15,
      binding: info >> 4,
      section: view.u16(at + 6),
    };
  }

  *[Symbol.iterator](): IterableIterator<ElfSymbol> {
    for (let index = 0; index < this.count; index++) yield this.at(index);
  }

  /** The defined symbol of a name, or undefined. */
  find(name: string): ElfSymbol | undefined {
    const wanted = new TextEncoder().encode(`${name}\0`);
    const { view } = this.#elf;
    const { stringOffset, stringSize } = this.#range;
    for (let index = 1; index < this.count; index++) {
      const at = this.#entry(index);
      const start = view.u32(at);
      if (start + wanted.length > stringSize || view.u16(at + 6) === 0) continue;
      const text = view.slice(stringOffset + start, wanted.length, "a symbol name");
      if (wanted.every((byte, position) => byte === text[position])) return this.at(index);
    }
    return undefined;
  }

  /**
   * The function (or other code or data symbol) that holds an address. Symbols
   * without a size reach to the next symbol.
   */
  lookup(address: number): SymbolHit | undefined {
    this.#byAddress ??= this.#sort();
    const { starts, sizes, indices, longest } = this.#byAddress;
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    let sizeless: number | undefined;
    const nearest = starts[low - 1];
    for (let position = low - 1; position >= 0; position--) {
      const offset = address - (starts[position] ?? 0);
      const size = sizes[position] ?? 0;
      if (offset < size) return { symbol: this.at(indices[position] ?? 0), offset };
      if (size === 0 && starts[position] === nearest) sizeless ??= position;
      if (offset > longest) break;
    }
    if (sizeless === undefined) return undefined;
    const symbol = this.at(indices[sizeless] ?? 0);
    return { symbol, offset: address - symbol.address };
  }

  #sort(): AddressIndex {
    const { view } = this.#elf;
    const found: { start: number; size: number; rank: number; index: number }[] = [];
    let longest = 0;
    for (let index = 1; index < this.count; index++) {
      const at = this.#entry(index);
      const type = view.u8(at + 4) & 15;
      const start = view.u64OrUndefined(at + 8);
      const size = view.u64OrUndefined(at + 16) ?? 0;
      const section = view.u16(at + 6);
      const usable = type <= SymbolType.function || type === SymbolType.ifunc;
      if (!usable || section === 0 || section === 0xfff1 || !start) continue;
      const rank = view.u8(at + 4) >> 4 === SymbolBinding.global ? 1 : 0;
      found.push({ start, size, rank, index });
      longest = Math.max(longest, size);
    }
    found.sort((a, b) => a.start - b.start || a.rank - b.rank || a.index - b.index);
    return {
      starts: Float64Array.from(found, (each) => each.start),
      sizes: Float64Array.from(found, (each) => each.size),
      indices: Uint32Array.from(found, (each) => each.index),
      longest,
    };
  }

  #entry(index: number): number {
    if (!(index >= 0 && index < this.count)) {
      throw new ElfError("bad-symbols", `there is no symbol ${index}`);
    }
    return this.#range.offset + index * ENTRY_SIZE;
  }
}

/**
 * The fullest symbol table of a file: `.symtab` if it was not stripped, else
 * the dynamic symbols; undefined if there are none.
 */
export function readSymbols(elf: ElfFile): SymbolTable | undefined {
  return sectionTable(elf, SectionType.symtab) ?? readDynamicSymbols(elf);
}

/** The dynamic symbols (exports and imports), or undefined if there are none. */
export function readDynamicSymbols(elf: ElfFile): SymbolTable | undefined {
  return sectionTable(elf, SectionType.dynsym) ?? dynamicTable(elf);
}

function sectionTable(elf: ElfFile, type: number): SymbolTable | undefined {
  const sections = readSections(elf);
  const section = sections.find((each) => each.type === type);
  if (!section) return undefined;
  const strings: Section | undefined = sections[section.link];
  if (section.entrySize !== ENTRY_SIZE || strings?.type !== SectionType.strtab) {
    throw new ElfError("bad-symbols", `section ${section.name} has an unknown form`);
  }
  return new SymbolTable(elf, {
    offset: section.offset,
    count: Math.floor(section.size / ENTRY_SIZE),
    stringOffset: strings.offset,
    stringSize: strings.size,
  });
}

/** Without section headers the hash table says how many dynamic symbols there are. */
function dynamicTable(elf: ElfFile): SymbolTable | undefined {
  const dynamic = readDynamic(elf);
  if (dynamic?.symbolTable === undefined) return undefined;
  const count = dynamicCount(elf, dynamic);
  if (!Number.isSafeInteger(count * ENTRY_SIZE)) {
    throw new ElfError("bad-symbols", "the symbol count makes no sense");
  }
  return new SymbolTable(elf, {
    offset: fileOffset(elf, dynamic.symbolTable, count * ENTRY_SIZE),
    count,
    stringOffset: dynamic.strings.offset,
    stringSize: dynamic.strings.size,
  });
}

function dynamicCount(elf: ElfFile, dynamic: DynamicInfo): number {
  const { view } = elf;
  if (dynamic.hash !== undefined) return view.u32(fileOffset(elf, dynamic.hash, 8) + 4);
  if (dynamic.gnuHash === undefined) return 0;
  const at = fileOffset(elf, dynamic.gnuHash, 16);
  const end = fileEnd(elf, dynamic.gnuHash);
  const buckets = view.u32(at);
  const first = view.u32(at + 4);
  const bucketsAt = at + 16 + view.u32(at + 8) * 8;
  const chainsAt = bucketsAt + buckets * 4;
  if (chainsAt > end) throw new ElfError("bad-symbols", "the hash table is cut off");
  let last = 0;
  for (let bucket = 0; bucket < buckets; bucket++) {
    last = Math.max(last, view.u32(bucketsAt + bucket * 4));
  }
  if (last < first) return first;
  // The last chain ends at the entry whose lowest bit is set.
  for (let index = last; ; index++) {
    const chain = chainsAt + (index - first) * 4;
    if (chain + 4 > end) throw new ElfError("bad-symbols", "a hash chain has no end");
    if ((view.u32(chain) & 1) === 1) return index + 1;
  }
}
