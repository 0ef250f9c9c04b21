/** Writes 64-bit ELF files for x86-64: sections in the order given, one symbol table. */

import { SectionType, SymbolBinding } from "@spore/elf";

/** A section to write. */
export interface SectionSpec {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly align: number;
  /** Its bytes; for a section without bytes in the file, `size` says how long it is. */
  readonly bytes: Uint8Array;
  readonly size?: number;
  readonly address?: number;
  /** Where its bytes go in the file. Default: behind the last section, aligned. */
  readonly offset?: number;
  readonly link?: number;
  readonly info?: number;
  readonly entrySize?: number;
}

/** A symbol to write. */
export interface SymbolSpec {
  readonly name: string;
  readonly value: number;
  readonly size: number;
  readonly type: number;
  readonly binding: number;
  readonly section: number;
}

/** A program header to write. */
export interface SegmentSpec {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: number;
}

/** What the file header says. */
export interface FileSpec {
  /** One of FileType. */
  readonly type: number;
  readonly entry: number;
  readonly segments: readonly SegmentSpec[];
}

const HEADER = 64;
const PROGRAM_HEADER = 56;
const SECTION_HEADER = 64;
const SYMBOL = 24;
const ASCII = /^[\0-\x7f]*$/;

/** Strings one after another, each ended by a NUL; the empty one comes first. */
class StringTable {
  readonly #texts: string[] = [""];
  #length = 1;

  add(text: string): number {
    if (text === "") return 0;
    const at = this.#length;
    this.#texts.push(text);
    this.#length += (ASCII.test(text) ? text.length : new TextEncoder().encode(text).length) + 1;
    return at;
  }

  bytes(): Uint8Array {
    return new TextEncoder().encode(`${this.#texts.join("\0")}\0`);
  }
}

/** Symbols as they stand in the file. */
class SymbolRecords {
  #data = new DataView(new ArrayBuffer(64 * SYMBOL));
  #length = 0;

  add(nameAt: number, { value, size, type, binding, section }: Omit<SymbolSpec, "name">): void {
    if (this.#length + SYMBOL > this.#data.byteLength) {
      const larger = new Uint8Array(2 * this.#data.byteLength);
      larger.set(new Uint8Array(this.#data.buffer));
      this.#data = new DataView(larger.buffer);
    }
    const data = this.#data;
    const at = this.#length;
    data.setUint32(at, nameAt, true);
    data.setUint8(at + 4, (binding << 4) | type);
    data.setUint16(at + 6, section, true);
    setU64(data, at + 8, value);
    setU64(data, at + 16, size);
    this.#length += SYMBOL;
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#data.buffer, 0, this.#length);
  }
}

/** Collects symbols; written with the local ones first, otherwise in order. */
export class SymbolWriter {
  /** Index of the symbol table's section. */
  readonly index: number;
  readonly #names = new StringTable();
  readonly #local = new SymbolRecords();
  readonly #others = new SymbolRecords();

  constructor(index: number) {
    this.index = index;
    this.#local.add(0, { value: 0, size: 0, type: 0, binding: 0, section: 0 });
  }

  add(symbol: SymbolSpec): void {
    const records = symbol.binding === SymbolBinding.local ? this.#local : this.#others;
    records.add(this.#names.add(symbol.name), symbol);
  }

  /** Bytes of the table, of its names, and the index of the first symbol that is not local. */
  finish(): { table: Uint8Array; names: Uint8Array; firstGlobal: number } {
    const local = this.#local.bytes();
    const others = this.#others.bytes();
    const table = new Uint8Array(local.length + others.length);
    table.set(local);
    table.set(others, local.length);
    return { table, names: this.#names.bytes(), firstGlobal: local.length / SYMBOL };
  }
}

/** Collects sections and writes the file. */
export class ElfWriter {
  readonly #sections: SectionSpec[] = [];
  #symbols: SymbolWriter | undefined;

  /** Adds a section; answers its index. */
  section(spec: SectionSpec): number {
    return this.#sections.push(spec);
  }

  /** Adds the symbol table, whose strings follow it. */
  symbolTable(): SymbolWriter {
    const none = new Uint8Array(0);
    this.#symbols = new SymbolWriter(
      this.section({ name: ".symtab", type: SectionType.symtab, flags: 0, align: 8, bytes: none }),
    );
    this.section({ name: ".strtab", type: SectionType.strtab, flags: 0, align: 1, bytes: none });
    return this.#symbols;
  }

  finish({ type, entry, segments }: FileSpec): Uint8Array {
    this.#fillSymbols();
    const names = new StringTable();
    const nameIndex = this.section({
      name: ".shstrtab",
      type: SectionType.strtab,
      flags: 0,
      align: 1,
      bytes: new Uint8Array(0),
    });
    const nameOffsets = this.#sections.map(({ name }) => names.add(name));
    this.#replace(nameIndex, { bytes: names.bytes() });
    const { offsets, end } = this.#place(HEADER + PROGRAM_HEADER * segments.length);
    const table = Math.ceil(end / 8) * 8;
    const bytes = new Uint8Array(table + SECTION_HEADER * (1 + this.#sections.length));
    const data = new DataView(bytes.buffer);
    bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
    data.setUint16(16, type, true);
    data.setUint16(18, 62, true);
    data.setUint32(20, 1, true);
    setU64(data, 24, entry);
    setU64(data, 32, segments.length > 0 ? HEADER : 0);
    setU64(data, 40, table);
    data.setUint16(52, HEADER, true);
    data.setUint16(54, segments.length > 0 ? PROGRAM_HEADER : 0, true);
    data.setUint16(56, segments.length, true);
    data.setUint16(58, SECTION_HEADER, true);
    data.setUint16(60, 1 + this.#sections.length, true);
    data.setUint16(62, nameIndex, true);
    for (const [index, segment] of segments.entries())
      writeSegment(data, HEADER + PROGRAM_HEADER * index, segment);
    for (const [index, section] of this.#sections.entries()) {
      const offset = offsets[index] ?? 0;
      bytes.set(section.bytes, offset);
      writeSection(data, table + SECTION_HEADER * (index + 1), section, nameOffsets[index] ?? 0, offset);
    }
    return bytes;
  }

  #fillSymbols(): void {
    if (!this.#symbols) return;
    const { index } = this.#symbols;
    const { table, names, firstGlobal } = this.#symbols.finish();
    this.#replace(index, { bytes: table, link: index + 1, info: firstGlobal, entrySize: SYMBOL });
    this.#replace(index + 1, { bytes: names });
  }

  #replace(index: number, over: Partial<SectionSpec>): void {
    const section = this.#sections[index - 1];
    if (section) this.#sections[index - 1] = { ...section, ...over };
  }

  #place(start: number): { offsets: number[]; end: number } {
    let end = start;
    const offsets = this.#sections.map(({ bytes, align, offset }) => {
      const at = offset ?? Math.ceil(end / align) * align;
      end = Math.max(end, at + bytes.length);
      return at;
    });
    return { offsets, end };
  }
}

function writeSegment(data: DataView, at: number, segment: SegmentSpec): void {
  data.setUint32(at, segment.type, true);
  data.setUint32(at + 4, segment.flags, true);
  setU64(data, at + 8, segment.offset);
  setU64(data, at + 16, segment.address);
  setU64(data, at + 24, segment.address);
  setU64(data, at + 32, segment.fileSize);
  setU64(data, at + 40, segment.memorySize);
  setU64(data, at + 48, segment.align);
}

function writeSection(data: DataView, at: number, section: SectionSpec, name: number, offset: number): void {
  data.setUint32(at, name, true);
  data.setUint32(at + 4, section.type, true);
  setU64(data, at + 8, section.flags);
  setU64(data, at + 16, section.address ?? 0);
  setU64(data, at + 24, offset);
  setU64(data, at + 32, section.size ?? section.bytes.length);
  data.setUint32(at + 40, section.link ?? 0, true);
  data.setUint32(at + 44, section.info ?? 0, true);
  setU64(data, at + 48, section.align);
  setU64(data, at + 56, section.entrySize ?? 0);
}

/** Stores a number below 2^53. */
export function setU64(data: DataView, at: number, value: number): void {
  data.setUint32(at, value % 2 ** 32, true);
  data.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}
