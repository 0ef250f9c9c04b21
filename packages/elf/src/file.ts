/** The file header and the program headers: what a loader needs. */
import { ElfError } from "./error.ts";
import { View } from "./view.ts";

/** e_type values that are accepted. */
export const FileType = { relocatable: 1, executable: 2, shared: 3 } as const;

/** p_type values with a meaning here. */
export const SegmentType = {
  load: 1,
  dynamic: 2,
  interp: 3,
  note: 4,
  phdr: 6,
  tls: 7,
  gnuEhFrame: 0x6474e550,
  gnuStack: 0x6474e551,
  gnuRelro: 0x6474e552,
  gnuProperty: 0x6474e553,
} as const;

/** p_flags bits. */
export const SegmentFlag = { execute: 1, write: 2, read: 4 } as const;

/** The file header; offsets and sizes in bytes. */
export interface ElfHeader {
  /** One of {@link FileType}. */
  readonly type: number;
  /** Virtual address of the first instruction, 0 if none. */
  readonly entry: number;
  readonly programHeaderOffset: number;
  readonly programHeaderCount: number;
  readonly sectionHeaderOffset: number;
  /** As stored: 0 may mean "see section 0". */
  readonly sectionHeaderCount: number;
  readonly sectionNameIndex: number;
}

/** One program header. */
export interface Segment {
  /** One of {@link SegmentType}, or another value. */
  readonly type: number;
  /** Bits of {@link SegmentFlag}. */
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: number;
}

/** A checked ELF file. `view` shares the bytes that were parsed. */
export interface ElfFile {
  readonly view: View;
  readonly header: ElfHeader;
  /** All program headers, in table order. */
  readonly segments: readonly Segment[];
  /** The PT_LOAD ones: ascending, without overlap. */
  readonly loads: readonly Segment[];
}

export const HEADER_SIZE = 64;
export const PROGRAM_HEADER_SIZE = 56;
const MACHINE_X86_64 = 62;
/** Segments may share a page of the file at their bounds. */
const SHARED_PAGES: number = 1 << 20;
const EXTENDED_COUNT = 0xffff;

/** Reads and checks header and program headers. Throws {@link ElfError} only. */
export function parseElf(bytes: Uint8Array): ElfFile {
  const view = new View(bytes);
  const header = parseHeader(view);
  const segments: Segment[] = [];
  for (let index = 0; index < header.programHeaderCount; index++) {
    segments.push(parseSegment(view, header.programHeaderOffset + index * PROGRAM_HEADER_SIZE));
  }
  const loads = segments.filter((segment) => segment.type === SegmentType.load);
  checkLoads(loads);
  const shown = loads.reduce((sum, load) => sum + load.fileSize, 0);
  if (shown > 2 * view.length + SHARED_PAGES) {
    throw new ElfError("bad-segment", "the loadable segments show the same bytes again and again");
  }
  return { view, header, segments, loads };
}

function parseHeader(view: View): ElfHeader {
  if (view.length < 4 || view.u32(0) !== 0x464c457f) {
    throw new ElfError("not-elf", "this is not an ELF file");
  }
  if (view.length < 16) throw new ElfError("truncated", "the file header is cut off");
  if (view.u8(4) !== 2) throw new ElfError("wrong-class", "this is not a 64-bit ELF file");
  if (view.u8(5) !== 1) {
    throw new ElfError("wrong-byte-order", "this ELF file is not little endian");
  }
  if (view.u8(6) !== 1) throw new ElfError("wrong-version", "unknown ELF version");
  view.check(0, HEADER_SIZE, "the file header");
  if (view.u16(18) !== MACHINE_X86_64) {
    throw new ElfError("wrong-machine", `this ELF file is for machine ${view.u16(18)}, not x86-64`);
  }
  const type = view.u16(16);
  if (!(Object.values(FileType) as number[]).includes(type)) {
    throw new ElfError("wrong-type", `ELF file type ${type} is no program, library or object`);
  }
  if (view.u32(20) !== 1) throw new ElfError("wrong-version", "unknown ELF version");
  const header: ElfHeader = {
    type,
    entry: view.u64(24),
    programHeaderOffset: view.u64(32),
    programHeaderCount: view.u16(56),
    sectionHeaderOffset: view.u64(40),
    sectionHeaderCount: view.u16(60),
    sectionNameIndex: view.u16(62),
  };
  checkProgramHeaderTable(view, header);
  return header;
}

function checkProgramHeaderTable(view: View, header: ElfHeader): void {
  const count = header.programHeaderCount;
  if (count === 0) return;
  if (count === EXTENDED_COUNT || view.u16(54) !== PROGRAM_HEADER_SIZE) {
    throw new ElfError("bad-header", "the program header table has an unknown form");
  }
  const size = count * PROGRAM_HEADER_SIZE;
  view.check(header.programHeaderOffset, size, "the program header table");
}

function parseSegment(view: View, at: number): Segment {
  const type = view.u32(at);
  const segment: Segment = {
    type,
    flags: view.u32(at + 4),
    offset: view.u64(at + 8),
    vaddr: view.u64(at + 16),
    fileSize: view.u64(at + 32),
    memorySize: view.u64(at + 40),
    align: view.u64(at + 48),
  };
  view.check(segment.offset, segment.fileSize, "a segment");
  if (!Number.isSafeInteger(segment.vaddr + segment.memorySize)) {
    throw new ElfError("out-of-range", "a segment reaches beyond the address space");
  }
  if (type === SegmentType.load || type === SegmentType.tls) {
    const { align, fileSize, memorySize } = segment;
    if (fileSize > memorySize) {
      throw new ElfError("bad-segment", "a segment is larger in the file than in memory");
    }
    if (align > 1 && !isPowerOfTwo(align)) {
      throw new ElfError("bad-segment", "a segment's alignment is no power of two");
    }
  }
  return segment;
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value));
}

function checkLoads(loads: readonly Segment[]): void {
  let end = 0;
  for (const load of loads) {
    if (load.vaddr < end) {
      throw new ElfError("segments-overlap", "two loadable segments overlap or are out of order");
    }
    end = load.vaddr + load.memorySize;
  }
}

/** The first segment of a type, or undefined. */
export function segmentOfType(elf: ElfFile, type: number): Segment | undefined {
  return elf.segments.find((segment) => segment.type === type);
}

/**
 * Offset in the file of `[address, address + length)`, which must lie in the
 * file-backed part of one PT_LOAD segment.
 */
export function fileOffset(elf: ElfFile, address: number, length: number): number {
  for (const load of elf.loads) {
    const within = address - load.vaddr;
    if (within >= 0 && within <= load.fileSize && length <= load.fileSize - within) {
      return load.offset + within;
    }
  }
  const hex = address.toString(16);
  throw new ElfError("unmapped-address", `address 0x${hex} is not backed by the file`);
}

/** End of the file-backed part of the segment that holds `address`, as a file offset. */
export function fileEnd(elf: ElfFile, address: number): number {
  const offset = fileOffset(elf, address, 0);
  for (const load of elf.loads) {
    const end = load.offset + load.fileSize;
    if (offset >= load.offset && offset <= end && offset - load.offset === address - load.vaddr) {
      return end;
    }
  }
  return offset;
}

/** The interpreter's path (PT_INTERP), or undefined for a static program. */
export function interpreter(elf: ElfFile): string | undefined {
  const segment = segmentOfType(elf, SegmentType.interp);
  if (!segment) return undefined;
  return elf.view.string(segment.offset, segment.offset + segment.fileSize);
}
