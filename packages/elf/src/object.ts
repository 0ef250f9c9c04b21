/**
 * Relocatable object files: sections, symbols and relocations for a linker. There are tens of
 * thousands, and a link takes milliseconds: they are kept in columns, checked and decoded once.
 * Their 64-bit fields must fit 32 bits: nobody links more than 4 GiB here.
 */
import { ElfError } from "./error.ts";
import { type ElfFile, FileType, parseElf } from "./file.ts";
import { SECTION_HEADER_SIZE, SectionType, sectionName, sectionTable } from "./sections.ts";
import type { View } from "./view.ts";

/** st_shndx values with a meaning of their own. */
export const SymbolSection = { undefined: 0, reserved: 0xff00, absolute: 0xfff1, common: 0xfff2 } as const;

/** The sections of an object, by index. */
export interface Sections {
  readonly count: number;
  /** Of SectionType. */
  readonly types: Uint32Array;
  /** Bits of SectionFlag. */
  readonly flags: Uint32Array;
  readonly offsets: Uint32Array;
  readonly sizes: Uint32Array;
  readonly aligns: Uint32Array;
}

/** The symbols of an object, by index; the one at index 0 is empty. */
export interface Symbols {
  readonly count: number;
  /** Those below this index are local. */
  readonly firstGlobal: number;
  /** Of SymbolType. */
  readonly types: Uint8Array;
  /** Of SymbolBinding. */
  readonly bindings: Uint8Array;
  /** Index of the section, or one of {@link SymbolSection}. */
  readonly sections: Uint16Array;
  /** Offset in the section. */
  readonly values: Uint32Array;
  readonly sizes: Uint32Array;
}

/** The relocations (RELA) of an object; those of one section lie together, in its order. */
export interface Relocations {
  /** By section: the first, and the one after the last. */
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  /** Where in the section; it begins there, and may reach beyond. */
  readonly offsets: Uint32Array;
  /** R_X86_64_*. */
  readonly types: Uint32Array;
  /** Index of the symbol. */
  readonly symbols: Uint32Array;
  readonly addends: Int32Array;
}

/** A section group of which one copy is enough (SHT_GROUP with GRP_COMDAT). */
export interface SectionGroup {
  /** Name that all copies share. */
  readonly signature: string;
  readonly sections: readonly number[];
}

const SYMBOL_SIZE = 24;
const RELOCATION_SIZE = 24;
const WORD = 4;
const COMDAT = 1;

/** The columns of the section header table that nobody needs to know after reading. */
interface Links {
  readonly names: Uint32Array;
  readonly links: Uint32Array;
  readonly infos: Uint32Array;
  readonly entrySizes: Uint32Array;
}

/** A checked relocatable object. */
export class RelocatableObject {
  /** The whole file. */
  readonly file: Uint8Array;
  readonly sections: Sections;
  readonly symbols: Symbols;
  readonly relocations: Relocations;
  readonly groups: readonly SectionGroup[];
  readonly #view: View;
  /** Names of sections and symbols are cut out of these tables. */
  readonly #sectionNames: string;
  readonly #symbolNames: string;
  readonly #sectionNameAt: Uint32Array;
  readonly #symbolNameAt: Uint32Array;

  constructor(bytes: Uint8Array) {
    const elf = parseElf(bytes);
    if (elf.header.type !== FileType.relocatable) {
      throw new ElfError("wrong-type", "this ELF file is no relocatable object");
    }
    this.#view = elf.view;
    this.file = elf.view.bytes;
    const words = elf.view.words();
    const { sections, links, names } = readHeaders(elf, words);
    this.sections = sections;
    this.#sectionNames = names;
    this.#sectionNameAt = links.names;
    const table = sections.types.indexOf(SectionType.symtab);
    const { symbols, nameAt } = readSymbols(table, sections, links, words);
    this.symbols = symbols;
    this.#symbolNameAt = nameAt;
    const strings = links.links[table];
    this.#symbolNames = strings === undefined ? "" : new TextDecoder("latin1").decode(this.bytes(strings));
    this.relocations = readRelocations(sections, links, symbols.count, words);
    this.groups = this.#readGroups(links.infos);
  }

  /** The name of a section, "" if it has none. */
  sectionName(index: number): string {
    const at = this.#sectionNameAt[index];
    if (at === undefined) throw new ElfError("bad-section", `there is no section ${index}`);
    return sectionName(this.#sectionNames, at);
  }

  /** Whether the name of a section begins so; many names are looked at, and few are cut out. */
  sectionNameBegins(index: number, prefix: string): boolean {
    return this.#sectionNames.startsWith(prefix, this.#sectionNameAt[index]);
  }

  /** The name of a symbol, "" if it has none. */
  symbolName(index: number): string {
    const start = this.#symbolNameAt[index];
    if (start === undefined) throw new ElfError("bad-symbols", `there is no symbol ${index}`);
    if (start === 0) return "";
    const end = this.#symbolNames.indexOf("\0", start);
    if (end < 0) throw new ElfError("bad-string", "a symbol name has no end");
    return this.#symbolNames.slice(start, end);
  }

  /** The bytes of a section; none for one that has no bytes in the file. */
  bytes(section: number): Uint8Array {
    const { types, offsets, sizes } = this.sections;
    if (types[section] === SectionType.nobits) return new Uint8Array(0);
    return this.#view.slice(offsets[section] ?? 0, sizes[section] ?? 0, "a section");
  }

  #readGroups(infos: Uint32Array): SectionGroup[] {
    const result: SectionGroup[] = [];
    const { count, types, offsets, sizes } = this.sections;
    for (let at = types.indexOf(SectionType.group); at >= 0; at = types.indexOf(SectionType.group, at + 1)) {
      const offset = offsets[at] ?? 0;
      const words = Math.floor((sizes[at] ?? 0) / WORD);
      const sections: number[] = [];
      for (let word = 1; word < words; word++) {
        const member = this.#view.u32(offset + WORD * word);
        if (member >= count) throw new ElfError("bad-section", "a section group names no section");
        sections.push(member);
      }
      if (words > 0 && this.#view.u32(offset) === COMDAT) {
        result.push({ signature: this.symbolName(infos[at] ?? 0), sections });
      }
    }
    return result;
  }
}

function tooLarge(): ElfError {
  return new ElfError("out-of-range", "a number in a table of the object is too large");
}

/** Index in `words` of a table; throws if it does not begin at a word. */
function wordAt(offset: number, what: string): number {
  if (offset % WORD !== 0) throw new ElfError("bad-header", `${what} does not begin at a word`);
  return offset / WORD;
}

function readHeaders(elf: ElfFile, words: Uint32Array): { sections: Sections; links: Links; names: string } {
  const { offset, count, names } = sectionTable(elf);
  const sections = {
    count,
    types: new Uint32Array(count),
    flags: new Uint32Array(count),
    offsets: new Uint32Array(count),
    sizes: new Uint32Array(count),
    aligns: new Uint32Array(count),
  };
  const links = {
    names: new Uint32Array(count),
    links: new Uint32Array(count),
    infos: new Uint32Array(count),
    entrySizes: new Uint32Array(count),
  };
  const { length } = elf.view;
  let at = wordAt(offset, "the section header table");
  for (let index = 0; index < count; index++, at += SECTION_HEADER_SIZE / WORD) {
    const type = words[at + 1] ?? 0;
    const start = words[at + 6] ?? 0;
    const size = words[at + 8] ?? 0;
    // Offset, size, alignment, size of an entry.
    if (words[at + 7] || words[at + 9] || words[at + 13] || words[at + 15]) throw tooLarge();
    if (start + size > length && type !== SectionType.nobits && type !== SectionType.null) {
      throw new ElfError("truncated", `section ${index} reaches beyond the end of the file`);
    }
    links.names[index] = words[at] ?? 0;
    sections.types[index] = type;
    sections.flags[index] = words[at + 2] ?? 0;
    sections.offsets[index] = start;
    sections.sizes[index] = size;
    links.links[index] = words[at + 10] ?? 0;
    links.infos[index] = words[at + 11] ?? 0;
    sections.aligns[index] = words[at + 12] ?? 0;
    links.entrySizes[index] = words[at + 14] ?? 0;
  }
  return { sections, links, names };
}

function readSymbols(
  table: number,
  { types: kinds, offsets, sizes: lengths, count: homes }: Sections,
  { links, infos, entrySizes }: Links,
  words: Uint32Array,
): { symbols: Symbols; nameAt: Uint32Array } {
  const known = entrySizes[table] === SYMBOL_SIZE && kinds[links[table] ?? 0] === SectionType.strtab;
  if (table >= 0 && !known) throw new ElfError("bad-symbols", "the symbol table has an unknown form");
  const count = table < 0 ? 0 : Math.floor((lengths[table] ?? 0) / SYMBOL_SIZE);
  const firstGlobal = Math.min(infos[table] ?? 0, count);
  const types = new Uint8Array(count);
  const bindings = new Uint8Array(count);
  const sections = new Uint16Array(count);
  const values = new Uint32Array(count);
  const sizes = new Uint32Array(count);
  const nameAt = new Uint32Array(count);
  let at = wordAt(offsets[table] ?? 0, "the symbol table");
  for (let index = 0; index < count; index++, at += SYMBOL_SIZE / WORD) {
    const packed = words[at + 1] ?? 0;
    const section = packed >>> 16;
    const value = words[at + 2] ?? 0;
    if (words[at + 3] || words[at + 5]) throw tooLarge();
    if (section > 0 && section < SymbolSection.reserved) {
      if (section >= homes || value > (lengths[section] ?? 0)) {
        throw new ElfError("bad-symbols", "a symbol lies outside its section");
      }
    }
    nameAt[index] = words[at] ?? 0;
    types[index] = packed & 15;
    bindings[index] = (packed >>> 4) & 15;
    sections[index] = section;
    values[index] = value;
    sizes[index] = words[at + 4] ?? 0;
  }
  return { symbols: { count, firstGlobal, types, bindings, sections, values, sizes }, nameAt };
}

/** How many relocations each section has, as where they begin and end in the columns. */
function relocationTables(
  { count, types, sizes }: Sections,
  { infos, entrySizes }: Links,
  room: number,
): { starts: Uint32Array; ends: Uint32Array; tables: number[]; total: number } {
  const starts = new Uint32Array(count);
  const ends = new Uint32Array(count);
  const tables: number[] = [];
  let total = 0;
  for (let index = 0; index < count; index++) {
    if (types[index] === SectionType.rel) {
      throw new ElfError("bad-relocation", "relocations without addends are not used on x86-64");
    }
    if (types[index] !== SectionType.rela) continue;
    const size = sizes[index] ?? 0;
    const home = infos[index] ?? 0;
    if (entrySizes[index] !== RELOCATION_SIZE || size % RELOCATION_SIZE !== 0 || home >= count) {
      throw new ElfError("bad-relocation", `section ${index} of relocations has an unknown form`);
    }
    if (size === 0) continue;
    if (ends[home] !== 0) throw new ElfError("bad-relocation", `section ${home} is relocated twice`);
    tables.push(index);
    starts[home] = total;
    total += size / RELOCATION_SIZE;
    ends[home] = total;
    // Tables may share bytes, but not so that they take more memory than the file.
    if (total * RELOCATION_SIZE > room) {
      throw new ElfError("bad-relocation", "the relocations are longer than the file");
    }
  }
  return { starts, ends, tables, total };
}

function readRelocations(
  sections: Sections,
  links: Links,
  symbolCount: number,
  words: Uint32Array,
): Relocations {
  const { starts, ends, tables, total } = relocationTables(sections, links, words.length * WORD);
  const offsets = new Uint32Array(total);
  const types = new Uint32Array(total);
  const symbols = new Uint32Array(total);
  const addends = new Int32Array(total);
  let next = 0;
  for (const table of tables) {
    const limit = sections.sizes[links.infos[table] ?? 0] ?? 0;
    let at = wordAt(sections.offsets[table] ?? 0, "a relocation table");
    const end = at + (sections.sizes[table] ?? 0) / WORD;
    for (; at < end; at += RELOCATION_SIZE / WORD, next++) {
      const offset = words[at] ?? 0;
      const symbol = words[at + 3] ?? 0;
      if (offset >= limit || symbol >= symbolCount) {
        throw new ElfError("bad-relocation", `section ${table} holds a relocation of something else`);
      }
      const addend = (words[at + 4] ?? 0) | 0;
      // The upper half of the addend is its sign.
      if (words[at + 1] || ((words[at + 5] ?? 0) | 0) !== addend >> 31) throw tooLarge();
      offsets[next] = offset;
      types[next] = words[at + 2] ?? 0;
      symbols[next] = symbol;
      addends[next] = addend;
    }
  }
  return { starts, ends, offsets, types, symbols, addends };
}
