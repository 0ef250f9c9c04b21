/** Relocations of programs and libraries: which words of the data the dynamic linker fills in, and with what. */

import { ElfError } from "./error.ts";
import { type ElfFile, fileOffset, SegmentType, segmentOfType } from "./file.ts";
import { readSections } from "./sections.ts";

/** A word that is filled in when the file is loaded. */
export interface Relocation {
  /** Address of the word. */
  readonly address: number;
  /** Address that it leads to, as far as the file says: an addend, or the word's own value. */
  readonly addend: number;
  /** Index in the dynamic symbols; 0 = none: the addend is an address of this file. */
  readonly symbol: number;
}

const RELA_SIZE = 24;
const Tag = { null: 0, rela: 7, relaSize: 8, pltSize: 2, plt: 23, relr: 36, relrSize: 35 } as const;
const Kind = { absolute: 1, copy: 5, globalData: 6, jumpSlot: 7, relative: 8, indirect: 37 } as const;
const SECTION_RELA = 4;
const SECTION_RELR = 19;
const ALLOCATED = 2;

/** All relocations that make a pointer, in no particular order. Others are left out. */
export function readRelocations(elf: ElfFile): Relocation[] {
  const found: Relocation[] = [];
  for (const { offset, size, packed } of tables(elf)) {
    if (packed) readPacked(elf, offset, size, found);
    else readTable(elf, offset, size, found);
  }
  return found;
}

interface Table {
  readonly offset: number;
  readonly size: number;
  /** DT_RELR: addresses only. */
  readonly packed: boolean;
}

/** The dynamic section knows them; a program without one has sections, or nothing to relocate. */
function tables(elf: ElfFile): Table[] {
  const segment = segmentOfType(elf, SegmentType.dynamic);
  if (!segment) {
    return readSections(elf)
      .filter(
        ({ type, flags }) => (flags & ALLOCATED) !== 0 && (type === SECTION_RELA || type === SECTION_RELR),
      )
      .map(({ offset, size, type }) => ({ offset, size, packed: type === SECTION_RELR }));
  }
  const values = new Map<number, number>();
  for (let at = segment.offset; at + 16 <= segment.offset + segment.fileSize; at += 16) {
    const tag = elf.view.u64OrUndefined(at);
    const value = elf.view.u64OrUndefined(at + 8);
    if (tag === Tag.null) break;
    if (tag !== undefined && value !== undefined) values.set(tag, value);
  }
  const result: Table[] = [];
  const add = (address: number | undefined, size: number | undefined, packed: boolean): void => {
    if (address === undefined || size === undefined || size === 0) return;
    result.push({ offset: fileOffset(elf, address, size), size, packed });
  };
  add(values.get(Tag.rela), values.get(Tag.relaSize), false);
  add(values.get(Tag.plt), values.get(Tag.pltSize), false);
  add(values.get(Tag.relr), values.get(Tag.relrSize), true);
  return result;
}

function readTable(elf: ElfFile, offset: number, size: number, found: Relocation[]): void {
  const { view } = elf;
  view.check(offset, size, "a relocation table");
  for (let at = offset; at + RELA_SIZE <= offset + size; at += RELA_SIZE) {
    const address = view.u64OrUndefined(at);
    if (address === undefined) throw new ElfError("out-of-range", "a relocation lies outside memory");
    const type = view.u32(at + 8);
    const symbol = view.u32(at + 12);
    const addend = view.u64OrUndefined(at + 16) ?? 0;
    switch (type) {
      case Kind.relative:
      case Kind.indirect:
        found.push({ address, addend, symbol: 0 });
        break;
      case Kind.absolute:
      case Kind.copy:
      case Kind.globalData:
      case Kind.jumpSlot:
        found.push({ address, addend, symbol });
        break;
    }
  }
}

/** An even word is an address; an odd one says which of the 63 words behind it are relocated too. */
function readPacked(elf: ElfFile, offset: number, size: number, found: Relocation[]): void {
  const { view } = elf;
  view.check(offset, size, "a relocation table");
  const add = (address: number): void => {
    const addend = view.u64OrUndefined(fileOffset(elf, address, 8));
    if (addend !== undefined) found.push({ address, addend, symbol: 0 });
  };
  let next = 0;
  for (let at = offset; at + 8 <= offset + size; at += 8) {
    const low = view.u32(at);
    const high = view.u32(at + 4);
    if ((low & 1) === 0) {
      const address = view.u64OrUndefined(at);
      if (address === undefined) throw new ElfError("out-of-range", "a relocation lies outside memory");
      add(address);
      next = address + 8;
      continue;
    }
    for (let bit = 1; bit < 64; bit++) {
      const word = bit < 32 ? low : high;
      if (((word >>> (bit % 32)) & 1) === 1) add(next + (bit - 1) * 8);
    }
    next += 63 * 8;
  }
}
