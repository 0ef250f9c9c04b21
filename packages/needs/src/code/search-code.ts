/**
 * A file of which only a few functions matter: they are found by searching its
 * bytes for addresses, instead of disassembling all of it.
 */

import { type ElfFile, FileType, readFrames, readRelocations, readSymbols, SegmentFlag } from "@spore/elf";
import { iced, type Region, readRegions, type Site } from "@spore/patch";
import { type Code, splitLinkage, wordAt } from "./index-code.ts";
import { lowerBound } from "./pointers.ts";
import { type CodeFunction, readFunction } from "./references.ts";

/** Opens a file for searching. */
export function searchCode(elf: ElfFile): Code {
  const regions = readRegions(elf, readFrames(elf));
  splitLinkage(elf, regions);
  const search = new Search(elf, regions);
  const symbols = readSymbols(elf);
  const taken = takenAddresses(elf);
  return {
    functions: [],
    sites: findSites(regions),
    pointers: undefined,
    initialisers: [],
    holder: (address) => search.holder(address),
    callers: (callee) =>
      search.referrers(callee.span.start).filter(({ targets }) => targets.includes(callee.span.start)),
    namers: (address) => search.referrers(address).filter(({ addresses }) => addresses.includes(address)),
    isInData: (callee) => taken(callee.span.start),
    entries: () => [],
    isFinal: (target) => search.holder(target)?.returns === false,
    isScanned: false,
    word: (address) => wordAt(elf, address),
    name: (address) => symbols?.lookup(address)?.symbol.name ?? "",
    free: () => {
      for (const region of regions) region.free();
    },
  };
}

/** System calls in functions whose bytes may hold one. */
function findSites(regions: readonly Region[]): Site[] {
  const { Code: Codes } = iced();
  const sites: Site[] = [];
  for (const region of regions) {
    for (const span of region.spans) {
      if (!span.isFunction || !region.holdsSyscallBytes(span)) continue;
      region.visit(span.start, span.end, ({ code }, address) => {
        if (code === Codes.Syscall) sites.push({ address, region, span, readable: true });
      });
    }
  }
  return sites;
}

class Search {
  readonly #elf: ElfFile;
  readonly #regions: readonly Region[];
  readonly #read = new Map<number, CodeFunction>();
  readonly #isInside: ((address: number) => boolean) | undefined;

  constructor(elf: ElfFile, regions: readonly Region[]) {
    this.#elf = elf;
    this.#regions = regions;
    this.#isInside =
      elf.header.type === FileType.executable
        ? (address) =>
            elf.loads.some((load) => address >= load.vaddr && address < load.vaddr + load.memorySize)
        : undefined;
  }

  holder(address: number): CodeFunction | undefined {
    const region = this.#regions.find((each) => each.contains(address));
    if (!region) return undefined;
    const span = region.spans[lowerBound(region.spans, address + 1, ({ start }) => start) - 1];
    if (!span?.isFunction || address >= span.end) return undefined;
    const known = this.#read.get(span.start) ?? readFunction(region, span, this.#isInside);
    this.#read.set(span.start, known);
    return known;
  }

  /** Functions with an operand that leads to an address, and perhaps others. */
  referrers(target: number): CodeFunction[] {
    const found = new Set<CodeFunction>();
    for (const load of this.#elf.loads) {
      if ((load.flags & SegmentFlag.execute) === 0) continue;
      const bytes = this.#elf.view.slice(load.offset, load.fileSize, "a segment");
      const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const limit = bytes.length - 4;
      for (let at = 0; at <= limit; at++) {
        const value = data.getInt32(at, true);
        // A distance from behind the operand, where an instruction usually ends, or the address itself.
        const leads =
          value + load.vaddr + at + 4 === target || (this.#isInside !== undefined && value === target);
        const holder = leads ? this.holder(load.vaddr + at) : undefined;
        if (holder) found.add(holder);
      }
    }
    return [...found];
  }
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
  const { view } = elf;
  for (const load of elf.loads) {
    if ((load.flags & SegmentFlag.execute) !== 0) continue;
    const end = load.offset + load.fileSize - 8;
    for (let at = load.offset + ((8 - (load.vaddr % 8)) % 8); at <= end; at += 8) {
      if (view.u64OrUndefined(at) === address) return true;
    }
  }
  return false;
}
