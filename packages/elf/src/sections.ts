/** The section header table: absent in stripped-down files, never needed to run one. */
import { ElfError } from "./error.ts";
import type { ElfFile } from "./file.ts";

/** sh_type values with a meaning here. */
export const SectionType = {
  null: 0,
  progbits: 1,
  symtab: 2,
  strtab: 3,
  rela: 4,
  note: 7,
  nobits: 8,
  rel: 9,
  dynsym: 11,
  group: 17,
} as const;

/** sh_flags bits. */
export const SectionFlag = { write: 1, alloc: 2, execute: 4 } as const;

/** One section header. */
export interface Section {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly address: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly align: number;
  readonly entrySize: number;
}

export const SECTION_HEADER_SIZE = 64;
const LONGEST_NAME = 8192;
const latin1 = new TextDecoder("latin1");

/** Where the section header table lies, and the names. */
export interface SectionTable {
  readonly offset: number;
  readonly count: number;
  /** The name table, decoded once: names are cut out of it. */
  readonly names: string;
}

/** Finds the section header table; a file without one has no sections. */
export function sectionTable({ view, header }: ElfFile): SectionTable {
  const offset = header.sectionHeaderOffset;
  if (offset === 0) return { offset, count: 0, names: "" };
  if (view.u16(58) !== SECTION_HEADER_SIZE) {
    throw new ElfError("bad-header", "the section header table has an unknown form");
  }
  view.check(offset, SECTION_HEADER_SIZE, "the section header table");
  // Counts that do not fit 16 bits are stored in section 0.
  const count = header.sectionHeaderCount || view.u64(offset + 32);
  const nameIndex = header.sectionNameIndex === 0xffff ? view.u32(offset + 40) : header.sectionNameIndex;
  view.check(offset, count * SECTION_HEADER_SIZE, "the section header table");
  if (count > 0 && nameIndex >= count) {
    throw new ElfError("bad-header", "the section name table does not exist");
  }
  if (count === 0) return { offset, count, names: "" };
  const at = offset + nameIndex * SECTION_HEADER_SIZE;
  const names = latin1.decode(view.slice(view.u64(at + 24), view.u64(at + 32), "the section name table"));
  return { offset, count, names };
}

/** All sections in table order; empty if the file has no section headers. */
export function readSections(elf: ElfFile): Section[] {
  const { view } = elf;
  const { offset, count, names } = sectionTable(elf);
  const sections: Section[] = [];
  let letters = 0;
  for (let index = 0; index < count; index++) {
    const at = offset + index * SECTION_HEADER_SIZE;
    const name = sectionName(names, view.u32(at));
    // Names may share bytes, but not so that they take more memory than the file.
    letters += name.length;
    if (letters > view.length + LONGEST_NAME) {
      throw new ElfError("bad-section", "the section names are longer than the file");
    }
    sections.push(parseSection(elf, at, name));
  }
  return sections;
}

/** The name that begins at a place of a name table; a file without a table has no names. */
export function sectionName(table: string, start: number): string {
  if (table === "") return "";
  if (start >= table.length) throw new ElfError("bad-string", "a string lies outside its table");
  const end = table.indexOf("\0", start);
  if (end < 0 || end >= start + LONGEST_NAME) throw new ElfError("bad-string", "a string has no end");
  return table.slice(start, end);
}

function parseSection(elf: ElfFile, at: number, name: string): Section {
  const { view } = elf;
  const section: Section = {
    name,
    type: view.u32(at + 4),
    flags: view.u64(at + 8),
    address: view.u64(at + 16),
    offset: view.u64(at + 24),
    size: view.u64(at + 32),
    link: view.u32(at + 40),
    info: view.u32(at + 44),
    align: view.u64(at + 48),
    entrySize: view.u64(at + 56),
  };
  if (section.type !== SectionType.nobits && section.type !== SectionType.null) {
    view.check(section.offset, section.size, `section ${name}`);
  }
  if (!Number.isSafeInteger(section.address + section.size)) {
    throw new ElfError("out-of-range", `section ${name} reaches beyond the address space`);
  }
  return section;
}
