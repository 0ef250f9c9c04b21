/** Relocatable object files: sections, symbols and relocations for a linker. */
import { ElfError } from "./error.ts";
import { FileType, parseElf } from "./file.ts";
import { readSections, type Section, SectionType } from "./sections.ts";
import type { View } from "./view.ts";

/** One relocation (RELA). */
export interface ObjectRelocation {
  /** Where in the section. */
  readonly offset: number;
  /** R_X86_64_*. */
  readonly type: number;
  /** Index of the symbol. */
  readonly symbol: number;
  readonly addend: number;
}

/** st_shndx values with a meaning of their own. */
export const SymbolSection = { undefined: 0, reserved: 0xff00, absolute: 0xfff1, common: 0xfff2 } as const;

/** A symbol without its name. */
export interface ObjectSymbol {
  /** Offset in its section. */
  readonly value: number;
  readonly size: number;
  /** One of SymbolType. */
  readonly type: number;
  /** One of SymbolBinding. */
  readonly binding: number;
  /** Index of its section, or one of {@link SymbolSection}. */
  readonly section: number;
}

const SYMBOL_SIZE = 24;
const RELOCATION_SIZE = 24;
const COMDAT = 1;

/** A section group of which one copy is enough (SHT_GROUP with GRP_COMDAT). */
export interface SectionGroup {
  /** Name that all copies share. */
  readonly signature: string;
  readonly sections: readonly number[];
}

/** A checked relocatable object. Symbols and relocations are decoded when asked for. */
export class RelocatableObject {
  readonly view: View;
  readonly sections: readonly Section[];
  /** Number of symbols, the empty one at index 0 included. */
  readonly symbolCount: number;
  /** Symbols below this index are local. */
  readonly firstGlobal: number;
  readonly groups: readonly SectionGroup[];
  readonly #symbolsAt: number;
  /** The string table, decoded once: names are cut out of it. */
  readonly #strings: string;
  /** Index of the relocation section of each section that has one. */
  readonly #relocations: ReadonlyMap<number, Section>;

  constructor(bytes: Uint8Array) {
    const elf = parseElf(bytes);
    if (elf.header.type !== FileType.relocatable) {
      throw new ElfError("wrong-type", "this ELF file is no relocatable object");
    }
    this.view = elf.view;
    this.sections = readSections(elf);
    const table = this.sections.find(({ type }) => type === SectionType.symtab);
    const strings = table && this.sections[table.link];
    if (table && (table.entrySize !== SYMBOL_SIZE || strings?.type !== SectionType.strtab)) {
      throw new ElfError("bad-symbols", "the symbol table has an unknown form");
    }
    this.#symbolsAt = table?.offset ?? 0;
    this.symbolCount = table ? Math.floor(table.size / SYMBOL_SIZE) : 0;
    this.firstGlobal = Math.min(table?.info ?? 0, this.symbolCount);
    this.#strings = strings
      ? new TextDecoder("latin1").decode(elf.view.slice(strings.offset, strings.size, "symbol names"))
      : "";
    this.#relocations = this.#relocationSections();
    this.groups = this.#readGroups();
  }

  /** The symbol at an index. */
  symbol(index: number): ObjectSymbol {
    const at = this.#symbolAt(index);
    const info = this.view.u8(at + 4);
    const section = this.view.u16(at + 6);
    const value = this.view.u64(at + 8);
    if (section > 0 && section < SymbolSection.reserved) {
      const home = this.sections[section];
      if (!home || value > home.size) throw new ElfError("bad-symbols", "a symbol lies outside its section");
    }
    return { value, size: this.view.u64(at + 16), type: info & 15, binding: info >> 4, section };
  }

  /** The name of a symbol, "" if it has none. */
  symbolName(index: number): string {
    const start = this.view.u32(this.#symbolAt(index));
    if (start === 0) return "";
    const end = this.#strings.indexOf("\0", start);
    if (end < 0) throw new ElfError("bad-string", "a symbol name has no end");
    return this.#strings.slice(start, end);
  }

  /** The bytes of a section; none for one that has no bytes in the file. */
  bytes(section: Section): Uint8Array {
    if (section.type === SectionType.nobits) return new Uint8Array(0);
    return this.view.slice(section.offset, section.size, `section ${section.name}`);
  }

  /** How many relocations a section has. */
  relocationCount(section: number): number {
    const table = this.#relocations.get(section);
    return table ? table.size / RELOCATION_SIZE : 0;
  }

  /** The relocations of a section, in order. */
  *relocations(section: number): IterableIterator<ObjectRelocation> {
    const table = this.#relocations.get(section);
    if (!table) return;
    const { view } = this;
    const limit = this.sections[section]?.size ?? 0;
    for (let at = table.offset; at < table.offset + table.size; at += RELOCATION_SIZE) {
      const offset = view.u64(at);
      const symbol = view.u32(at + 12);
      if (offset >= limit || symbol >= this.symbolCount) {
        throw new ElfError("bad-relocation", `section ${table.name} holds a relocation of something else`);
      }
      yield { offset, type: view.u32(at + 8), symbol, addend: view.i64(at + 16) };
    }
  }

  #symbolAt(index: number): number {
    if (!(index >= 0 && index < this.symbolCount)) {
      throw new ElfError("bad-symbols", `there is no symbol ${index}`);
    }
    return this.#symbolsAt + index * SYMBOL_SIZE;
  }

  #relocationSections(): ReadonlyMap<number, Section> {
    const result = new Map<number, Section>();
    for (const section of this.sections) {
      if (section.type === SectionType.rel) {
        throw new ElfError("bad-relocation", "relocations without addends are not used on x86-64");
      }
      if (section.type !== SectionType.rela) continue;
      const wellFormed = section.entrySize === RELOCATION_SIZE && section.size % RELOCATION_SIZE === 0;
      if (!wellFormed || !this.sections[section.info] || result.has(section.info)) {
        throw new ElfError("bad-relocation", `section ${section.name} has an unknown form`);
      }
      result.set(section.info, section);
    }
    return result;
  }

  #readGroups(): SectionGroup[] {
    const result: SectionGroup[] = [];
    for (const section of this.sections) {
      if (section.type !== SectionType.group) continue;
      const words = Math.floor(section.size / 4);
      const sections: number[] = [];
      for (let word = 1; word < words; word++) {
        const member = this.view.u32(section.offset + 4 * word);
        if (!this.sections[member]) throw new ElfError("bad-section", "a section group names no section");
        sections.push(member);
      }
      if (words > 0 && this.view.u32(section.offset) === COMDAT) {
        result.push({ signature: this.symbolName(section.info), sections });
      }
    }
    return result;
  }
}
