/** Pointers in a file's data, and which of them somebody gets at who knows one address in it. */

import {
  type ElfFile,
  FileType,
  readDynamicSymbols,
  readRelocations,
  readSections,
  readSymbols,
  type Section,
  SectionFlag,
  SegmentFlag,
  SymbolType,
} from "@spore/elf";

/** Data of this size belongs to whoever refers to its start, if nothing says how large it is. */
const WORD = 8;

/** A word that holds an address of the file. */
export interface Pointer {
  readonly at: number;
  readonly target: number;
}

/** The pointers of a file. */
export class Pointers {
  /** By address. */
  readonly list: readonly Pointer[];
  readonly #sections: readonly Section[];
  readonly #objects: readonly { readonly start: number; readonly end: number }[];
  /** Addresses that something refers to, ascending; set by `divide`. */
  #starts: readonly number[] = [];

  constructor(elf: ElfFile) {
    this.#sections = readSections(elf).filter(({ flags }) => (flags & SectionFlag.alloc) !== 0);
    this.#objects = dataSymbols(elf);
    const found = new Map<number, number>();
    // What is linked to a fixed address needs no relocation: every word may be a pointer.
    if (elf.header.type === FileType.executable)
      for (const { at, target } of plainWords(elf)) found.set(at, target);
    const symbols = readSymbolAddresses(elf);
    for (const { address, addend, symbol } of readRelocations(elf)) {
      const base = symbol === 0 ? 0 : symbols(symbol);
      if (base !== undefined) found.set(address, base + addend);
    }
    this.list = [...found].map(([at, target]) => ({ at, target })).sort((a, b) => a.at - b.at);
  }

  /** Says which addresses are referred to: each begins something of its own. */
  divide(references: Iterable<number>): void {
    this.#starts = [...new Set(references)].sort((a, b) => a - b);
  }

  /** The pointers that whoever refers to `address` can get at. */
  from(address: number): readonly Pointer[] {
    const first = lowerBound(this.list, address, (pointer) => pointer.at);
    const end = this.#endOf(address);
    let last = first;
    while (last < this.list.length && (this.list[last]?.at ?? 0) < end) last++;
    return this.list.slice(first, last);
  }

  #endOf(address: number): number {
    const section = this.#sections.find(
      (each) => address >= each.address && address < each.address + each.size,
    );
    // Every entry of the global offset table is a thing of its own.
    if (section?.name.startsWith(".got")) return address + WORD;
    const limit = section ? section.address + section.size : Number.POSITIVE_INFINITY;
    const known = this.#objects[lowerBound(this.#objects, address + 1, (object) => object.start) - 1];
    if (known && address < known.end) return known.end;
    let end = this.#starts[lowerBound(this.#starts, address + 1, (start) => start)] ?? limit;
    // Words side by side are one table, even if somebody refers to the middle of it.
    while (end < limit && this.#isPointer(end) && this.#isPointer(end - WORD)) end += WORD;
    return Math.min(end, limit);
  }

  #isPointer(at: number): boolean {
    return this.list[lowerBound(this.list, at, (pointer) => pointer.at)]?.at === at;
  }
}

/** Index of the first item whose key is not below `value`. */
export function lowerBound<T>(sorted: readonly T[], value: number, key: (item: T) => number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = sorted[middle];
    if (item !== undefined && key(item) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Sized data symbols by address; of several at one place the largest. */
function dataSymbols(elf: ElfFile): { start: number; end: number }[] {
  const symbols = readSymbols(elf);
  const ends = new Map<number, number>();
  for (let index = 1; index < (symbols?.count ?? 0); index++) {
    const symbol = symbols?.bounds(index);
    if (symbol?.type !== SymbolType.object || symbol.section === 0 || symbol.size === 0) continue;
    ends.set(symbol.address, Math.max(ends.get(symbol.address) ?? 0, symbol.address + symbol.size));
  }
  return [...ends].map(([start, end]) => ({ start, end })).sort((a, b) => a.start - b.start);
}

function readSymbolAddresses(elf: ElfFile): (index: number) => number | undefined {
  const symbols = readDynamicSymbols(elf);
  return (index) => {
    const symbol = symbols && index < symbols.count ? symbols.bounds(index) : undefined;
    return symbol && symbol.section !== 0 ? symbol.address : undefined;
  };
}

function* plainWords(elf: ElfFile): Iterable<Pointer> {
  const { view } = elf;
  const isInside = (value: number): boolean =>
    elf.loads.some((load) => value >= load.vaddr && value < load.vaddr + load.memorySize);
  for (const load of elf.loads) {
    if ((load.flags & SegmentFlag.execute) !== 0) continue;
    const start = load.offset + ((WORD - (load.vaddr % WORD)) % WORD);
    for (let at = start; at + WORD <= load.offset + load.fileSize; at += WORD) {
      const target = view.u64OrUndefined(at);
      if (target !== undefined && isInside(target)) yield { at: load.vaddr + at - load.offset, target };
    }
  }
}
