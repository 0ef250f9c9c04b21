/**
 * A file of which only a few functions matter: they are found by searching its
 * bytes for addresses, instead of disassembling all of it.
 */

import {
  type ElfFile,
  FileType,
  frameFinder,
  readFrames,
  readRelocations,
  readSymbols,
  type Segment,
  SegmentFlag,
  type SymbolTable,
  SymbolType,
} from "@spore/elf";
import { iced, Region, readRegions, type Site, type Span } from "@spore/patch";
import { type Code, linkageTables, splitLinkage, wordAt } from "./index-code.ts";
import { lowerBound } from "./pointers.ts";
import { type CodeFunction, readFunction } from "./references.ts";

/** Opens a file for searching. */
export function searchCode(elf: ElfFile): Code {
  const symbols = readSymbols(elf);
  const name = (address: number): string => symbols?.lookup(address)?.symbol.name ?? "";
  const { regions, span } = openSpans(elf, symbols);
  const search = new Search(elf, regions, span);
  const taken = takenAddresses(elf);
  return {
    functions: [],
    sites: search.sites(),
    pointers: undefined,
    initialisers: [],
    holder: (address) => search.holder(address),
    callers: (callee) =>
      search.referrers(callee.span.start).filter(({ targets }) => targets.includes(callee.span.start)),
    namers: (address) => search.referrers(address).filter(({ addresses }) => addresses.includes(address)),
    isInData: (callee) => taken(callee.span.start),
    entries: () => [],
    // Where a guess ends is not known: a way out may come later.
    isFinal: (target) => search.isKnown(target) && search.holder(target)?.returns === false,
    isScanned: false,
    looseCalls: (address) => search.looseCalls(address),
    isGuess: (each) => search.isGuess(each),
    word: (address) => wordAt(elf, address),
    prepare: (addresses) => search.prepare(addresses),
    name,
    free: () => {
      for (const region of regions) region.free();
    },
  };
}

/** Finds the function that holds an address. */
type SpanFinder = (address: number) => Span | undefined;

/**
 * Functions as unwind records say, one at a time; files without a table of them
 * are read as a whole.
 */
function openSpans(elf: ElfFile, symbols: SymbolTable | undefined): { regions: Region[]; span: SpanFinder } {
  const find = frameFinder(elf);
  if (!find) {
    const regions = readRegions(elf, readFrames(elf));
    splitLinkage(elf, regions);
    const span: SpanFinder = (address) => {
      const spans = regions.find((each) => each.contains(address))?.spans ?? [];
      const found = spans[lowerBound(spans, address + 1, ({ start }) => start) - 1];
      return found?.isFunction && address < found.end ? found : undefined;
    };
    return { regions, span };
  }
  const regions = elf.loads
    .filter(({ flags }) => (flags & SegmentFlag.execute) !== 0)
    .map(({ vaddr, offset, fileSize }) => new Region(vaddr, elf.view.slice(offset, fileSize, "a segment")));
  const tables = linkageTables(elf);
  const span: SpanFinder = (address) => {
    const table = tables.find(({ start, end }) => address >= start && address < end);
    if (table) {
      const start = address - ((address - table.start) % table.step);
      return { start, end: start + table.step, isFunction: true };
    }
    const record = find(address);
    if (record) return { start: record.start, end: record.end, isFunction: true };
    const symbol = symbols?.lookup(address)?.symbol;
    const isFunction = symbol?.type === SymbolType.function && symbol.size > 0;
    return isFunction ? { start: symbol.address, end: symbol.address + symbol.size, isFunction } : undefined;
  };
  return { regions, span };
}

/** Compilers begin functions at such addresses, and fill what lies before them with one of these. */
const ALIGNMENT = 16;
const FILLING: readonly number[] = [0xcc, 0x90];
/** A function without a record is looked for no further back than this from where something in it stands, nor on. */
const LONGEST_GUESS = 1 << 16;

const SYSCALL = Buffer.from([0x0f, 0x05]);
const FILTER_SIZE = 1 << 20;
const FILTER_MASK: number = FILTER_SIZE - 1;

class Search {
  readonly #elf: ElfFile;
  readonly #regions: readonly Region[];
  readonly #span: SpanFinder;
  readonly #read = new Map<number, CodeFunction>();
  readonly #referrers = new Map<number, readonly CodeFunction[]>();
  readonly #isInside: ((address: number) => boolean) | undefined;
  readonly #guesses = new Map<number, CodeFunction>();
  readonly #loose = new Map<number, Set<number>>();

  constructor(elf: ElfFile, regions: readonly Region[], span: SpanFinder) {
    this.#elf = elf;
    this.#regions = regions;
    this.#span = span;
    this.#isInside =
      elf.header.type === FileType.executable
        ? (address) =>
            elf.loads.some((load) => address >= load.vaddr && address < load.vaddr + load.memorySize)
        : undefined;
  }

  holder(address: number): CodeFunction | undefined {
    const region = this.#regions.find((each) => each.contains(address));
    const span = region && this.#span(address);
    if (!span) return region && this.#guess(region, address);
    const known = this.#read.get(span.start) ?? readFunction(region, span, this.#isInside);
    this.#read.set(span.start, known);
    return known;
  }

  /** System calls: where their bytes stand in a function, it is decoded from its start. */
  sites(): Site[] {
    const { Code: Codes } = iced();
    const sites: Site[] = [];
    const seen = new Set<number>();
    for (const { flags, vaddr, offset, fileSize } of this.#elf.loads) {
      if ((flags & SegmentFlag.execute) === 0) continue;
      const bytes = this.#elf.view.slice(offset, fileSize, "a segment");
      const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      for (let at = text.indexOf(SYSCALL); at >= 0; at = text.indexOf(SYSCALL, at + 1)) {
        const region = this.#regions.find((each) => each.contains(vaddr + at));
        const span = region && this.#span(vaddr + at);
        if (!span || seen.has(span.start)) continue;
        seen.add(span.start);
        region.visit(span.start, span.end, ({ code }, address) => {
          if (code === Codes.Syscall)
            sites.push({ address, region, span, kind: "syscall", fixed: undefined });
        });
      }
    }
    return sites;
  }

  isKnown(address: number): boolean {
    return this.#span(address) !== undefined;
  }

  isGuess(each: CodeFunction): boolean {
    return this.#guesses.get(each.span.start) === each;
  }

  /** Calls of an address, and jumps to it, that stand in no function that anything records. */
  looseCalls(target: number): readonly number[] {
    if (!this.#referrers.has(target)) this.prepare([target]);
    return [...(this.#loose.get(target) ?? [])];
  }

  /** A function that nothing records, as programs without unwind tables have them: from where one may begin to where the next may. */
  #guess(region: Region, address: number): CodeFunction {
    // Two of them: one may be the end of a number. What runs into the next function is followed with it.
    const isFilled = (at: number): boolean => FILLING.includes(region.byteAt(at) ?? 0xcc);
    const begins = (at: number): boolean => isFilled(at - 1) && isFilled(at - 2) && !isFilled(at);
    let start = address - (address % ALIGNMENT);
    while (start > region.start && address - start < LONGEST_GUESS && !begins(start)) start -= ALIGNMENT;
    start = Math.max(start, region.start);
    let end = start + ALIGNMENT - (start % ALIGNMENT);
    while (end < region.end && (end <= address || (!begins(end) && end - address < LONGEST_GUESS))) {
      end += ALIGNMENT;
    }
    const known = this.#guesses.get(start);
    if (known && known.span.end > address) return known;
    const span = { start, end: Math.min(end, region.end), isFunction: true };
    const found = readFunction(region, span, this.#isInside);
    this.#guesses.set(start, found);
    return found;
  }

  /** Functions with an operand that leads to an address, and perhaps others. */
  referrers(target: number): readonly CodeFunction[] {
    if (!this.#referrers.has(target)) this.prepare([target]);
    return this.#referrers.get(target) ?? [];
  }

  /** Finds the referrers of many addresses in one pass over the code. */
  prepare(targets: readonly number[]): void {
    const wanted = new Map<number, Set<CodeFunction>>();
    // Nearly all bytes lead nowhere: that is seen at the lowest bits already.
    const filter = new Uint8Array(FILTER_SIZE);
    for (const target of targets) {
      if (this.#referrers.has(target)) continue;
      wanted.set(target, new Set());
      filter[target & FILTER_MASK] = 1;
    }
    if (wanted.size === 0) return;
    for (const load of this.#elf.loads) {
      if ((load.flags & SegmentFlag.execute) !== 0) this.#pass(load, wanted, filter);
    }
    for (const [target, found] of wanted) this.#referrers.set(target, [...found]);
  }

  #pass(load: Segment, wanted: ReadonlyMap<number, Set<CodeFunction>>, filter: Uint8Array): void {
    const bytes = this.#elf.view.slice(load.offset, load.fileSize, "a segment");
    const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const limit = bytes.length - 4;
    const fixed = this.#isInside !== undefined;
    const found = (target: number, at: number): void => {
      const holders = wanted.get(target);
      if (!holders) return;
      const address = load.vaddr + at;
      if (!this.#span(address)) {
        // Elsewhere it may be data that looks so.
        const call = opcodeBefore(data, at);
        if (call === 0) return;
        const loose = this.#loose.get(target) ?? new Set();
        this.#loose.set(target, loose.add(address - call));
      }
      const holder = this.holder(address);
      if (holder) holders.add(holder);
    };
    // A distance counts from behind the operand, where an instruction usually ends.
    const behind = load.vaddr + 4;
    for (let at = 0; at <= limit; at++) {
      const value = data.getInt32(at, true);
      if (filter[(value + behind + at) & FILTER_MASK] === 1) found(value + behind + at, at);
      if (fixed && filter[value & FILTER_MASK] === 1) found(value, at);
    }
  }
}

/** Length of the opcode before an operand, if it is that of a call or jump, direct or through a word; else 0. */
function opcodeBefore(data: DataView, at: number): number {
  if (at < 2) return 0;
  const [first, last] = [data.getUint8(at - 2), data.getUint8(at - 1)];
  if (first === 0xff && (last === 0x15 || last === 0x25)) return 2;
  if (first === 0x0f && last >= 0x80 && last <= 0x8f) return 2;
  return last === 0xe8 || last === 0xe9 ? 1 : 0;
}

/** Tells whether data holds an address. */
function takenAddresses(elf: ElfFile): (address: number) => boolean {
  let taken: Set<number> | undefined;
  return (address) => {
    taken ??= new Set(readRelocations(elf).map(({ addend }) => addend));
    return taken.has(address) || (elf.header.type === FileType.executable && holdsWord(elf, address));
  };
}

function holdsWord(elf: ElfFile, address: number): boolean {
  const low = address % 2 ** 32;
  const high = Math.floor(address / 2 ** 32);
  for (const load of elf.loads) {
    if ((load.flags & SegmentFlag.execute) !== 0) continue;
    const bytes = elf.view.slice(load.offset, load.fileSize, "a segment");
    const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = (8 - (load.vaddr % 8)) % 8; at + 8 <= bytes.length; at += 8) {
      if (data.getUint32(at, true) === low && data.getUint32(at + 4, true) === high) return true;
    }
  }
  return false;
}
