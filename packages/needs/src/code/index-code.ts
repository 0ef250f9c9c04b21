/** All code of a file, with who refers to what. */

import {
  type ElfFile,
  type FrameRecord,
  readFrames,
  readSections,
  readSymbols,
  SegmentType,
  segmentOfType,
} from "@spore/elf";
import { type Region, readRegions, type Site, scanCode } from "@spore/patch";
import type { CodeIndex } from "./arguments.ts";
import { lowerBound, Pointers } from "./pointers.ts";
import { type CodeFunction, readFunctions } from "./references.ts";

/** The code of a file; `free` gives the disassembler's memory back. */
export interface Code extends CodeIndex {
  readonly sites: readonly Site[];
  /** Pointers in the data; undefined if only parts of the code were looked at. */
  readonly pointers: Pointers | undefined;
  /** Functions that initialisation and end call. */
  readonly initialisers: readonly number[];
  /** A function's name; "" if nothing names it. */
  readonly name: (address: number) => string;
  readonly free: () => void;
}

/** Disassembles a file. */
export function readCode(elf: ElfFile): Code {
  const frames: FrameRecord[] = readFrames(elf);
  const regions = readRegions(elf, frames, true);
  const sites = scanCode(elf, regions, frames).filter(({ kind }) => kind === "syscall");
  splitLinkage(elf, regions);
  const functions = readFunctions(elf, regions).sort((a, b) => a.span.start - b.span.start);
  const holder = (address: number): CodeFunction | undefined => {
    const found = functions[lowerBound(functions, address + 1, ({ span }) => span.start) - 1];
    return found && address < found.span.end ? found : undefined;
  };
  const pointers = new Pointers(elf);
  pointers.divide(referredData(functions, pointers, holder));
  const tables = referenceTables(functions, pointers, holder);
  const symbols = readSymbols(elf);
  return {
    functions,
    sites,
    pointers,
    holder,
    initialisers: initialisersOf(elf, pointers),
    ...tables,
    isScanned: true,
    looseCalls: () => [],
    isGuess: () => false,
    prepare: () => {},
    word: (address) => wordAt(elf, address),
    name: (address) => symbols?.lookup(address)?.symbol.name ?? "",
    free: () => {
      for (const region of regions) region.free();
    },
  };
}

/** A procedure linkage table: an entry every `step` bytes. */
export interface LinkageTable {
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

/** The procedure linkage tables of a file. */
export function linkageTables(elf: ElfFile): LinkageTable[] {
  return readSections(elf)
    .filter(({ name }) => /^\.i?plt(\.|$)/.test(name))
    .map(({ address, size, entrySize }) => {
      const step = entrySize > 0 && entrySize <= 16 ? entrySize : 16;
      return { start: address, end: address + size - (size % step), step };
    });
}

/** Every entry of a procedure linkage table is a function of its own. */
export function splitLinkage(elf: ElfFile, regions: readonly Region[]): void {
  const tables = linkageTables(elf);
  for (const region of regions) {
    for (const table of tables) {
      if (!region.contains(table.start)) continue;
      const others = region.spans.flatMap((span) => {
        if (span.end <= table.start || span.start >= table.end) return [span];
        const parts = [
          { ...span, end: table.start },
          { ...span, start: table.end },
        ];
        return parts.filter((part) => part.start < part.end);
      });
      const entries = Array.from({ length: (table.end - table.start) / table.step }, (_, index) => {
        const start = table.start + index * table.step;
        return { start, end: start + table.step, isFunction: true };
      });
      region.spans = [...others, ...entries].sort((a, b) => a.start - b.start);
    }
  }
}

/** DT_INIT and DT_FINI, and the tables of such functions. */
function initialisersOf(elf: ElfFile, pointers: Pointers): number[] {
  const single = new Set([12, 13]);
  const result: number[] = [];
  const segment = segmentOfType(elf, SegmentType.dynamic);
  for (let at = segment?.offset ?? 0; segment && at + 16 <= segment.offset + segment.fileSize; at += 16) {
    const value = elf.view.u64OrUndefined(at + 8);
    if (value !== undefined && single.has(elf.view.u64OrUndefined(at) ?? 0)) result.push(value);
  }
  for (const { name, address, size } of readSections(elf)) {
    if (name === ".init" || name === ".fini") result.push(address);
    if (!/^\.(preinit|init|fini)_array$/.test(name)) continue;
    for (const { at, target } of pointers.list) if (at >= address && at < address + size) result.push(target);
  }
  return result;
}

export function wordAt(elf: ElfFile, address: number): number | undefined {
  const load = elf.loads.find((each) => address >= each.vaddr && address + 8 <= each.vaddr + each.memorySize);
  if (!load) return undefined;
  const within = address - load.vaddr;
  return within + 8 <= load.fileSize ? elf.view.u64OrUndefined(load.offset + within) : 0;
}

type Holder = (address: number) => CodeFunction | undefined;

function referredData(functions: readonly CodeFunction[], pointers: Pointers, holder: Holder): Set<number> {
  const result = new Set<number>();
  const add = (address: number): void => {
    if (!holder(address)) result.add(address);
  };
  for (const each of functions) each.addresses.forEach(add);
  for (const { target } of pointers.list) add(target);
  return result;
}

function referenceTables(
  functions: readonly CodeFunction[],
  pointers: Pointers,
  holder: Holder,
): Omit<CodeIndex, "functions" | "holder" | "word" | "isScanned" | "prepare" | "looseCalls" | "isGuess"> {
  const callers = new Map<CodeFunction, Set<CodeFunction>>();
  const namers = new Map<number, Set<CodeFunction>>();
  const entries = new Map<CodeFunction, Set<number>>();
  const put = <K, V>(map: Map<K, Set<V>>, key: K, value: V): void => {
    const known = map.get(key);
    if (known) known.add(value);
    else map.set(key, new Set([value]));
  };
  const enter = (address: number): CodeFunction | undefined => {
    const callee = holder(address);
    if (callee && address !== callee.span.start) put(entries, callee, address);
    return callee;
  };
  for (const each of functions) {
    for (const target of each.targets) {
      const callee = enter(target);
      if (callee) put(callers, callee, each);
    }
    for (const address of each.addresses) put(namers, address, each);
  }
  const inData = new Set(pointers.list.map(({ target }) => target));
  return {
    callers: (callee) => [...(callers.get(callee) ?? [])],
    namers: (address) => [...(namers.get(address) ?? [])],
    isInData: (callee) => inData.has(callee.span.start),
    entries: (callee) => [...(entries.get(callee) ?? [])],
    isFinal: (target) => holder(target)?.returns === false,
  };
}
