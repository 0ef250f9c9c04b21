/** Adds an executable segment to a file without moving anything that is in it. */
import { type ElfFile, readSections, SectionType, type Segment, SegmentType } from "@spore/elf";

const PAGE = 4096;
const ENTRY_SIZE = 56;
const SECTION_HEADER_SIZE = 64;
const READ = 4;
const READ_EXECUTE = 5;

/** Where a new segment goes. */
export interface Appendix {
  readonly vaddr: number;
  readonly offset: number;
  /** Index of the program header that is given up; undefined: the table moves into the segment. */
  readonly slot: number | undefined;
  /** Bytes at the segment's start that the moved table takes. */
  readonly reserved: number;
}

/**
 * Finds a place behind everything else; undefined for a file that has no
 * loadable segments, or that carries something behind what ELF knows of: a
 * program that looks there counts from the end of its file.
 */
export function planAppendix(elf: ElfFile): Appendix | undefined {
  if (elf.loads.length === 0 || carriesMore(elf)) return undefined;
  const slot = spareSlot(elf.segments);
  const end = Math.max(...elf.loads.map((load) => load.vaddr + load.memorySize));
  const tableSize = (elf.header.programHeaderCount + 1) * ENTRY_SIZE;
  const reserved = slot === undefined ? Math.ceil(tableSize / 16) * 16 : 0;
  return { vaddr: roundUp(end), offset: roundUp(elf.view.length), slot, reserved };
}

/** Self-extracting programs and those with a bundled script keep it there. */
function carriesMore(elf: ElfFile): boolean {
  const { header, segments, view } = elf;
  const sections = readSections(elf);
  const ends = [
    ...segments.map(({ offset, fileSize }) => offset + fileSize),
    ...sections.filter(({ type }) => type !== SectionType.nobits).map(({ offset, size }) => offset + size),
    header.sectionHeaderOffset + sections.length * SECTION_HEADER_SIZE,
  ];
  const end = ends.reduce((highest, each) => Math.max(highest, each), 0);
  return view.bytes.subarray(end).some((byte) => byte !== 0);
}

/**
 * Notes are for tools, not for running a program. Best is one that a
 * PT_GNU_PROPERTY repeats; next one behind the other notes, since the build id
 * tends to come first.
 */
function spareSlot(segments: readonly Segment[]): number | undefined {
  const property = segments.find((each) => each.type === SegmentType.gnuProperty);
  const notes = segments.filter((each) => each.type === SegmentType.note);
  const repeated = notes.find((each) => each.offset === property?.offset);
  const spare = repeated ?? notes.at(-1) ?? property;
  return spare && segments.indexOf(spare);
}

/**
 * The file with the segment appended: `reserved` bytes, then `content`. `bytes`
 * of the file are not changed.
 */
export function appendSegment(elf: ElfFile, appendix: Appendix, content: Uint8Array): Uint8Array {
  const { offset, reserved, slot, vaddr } = appendix;
  const { programHeaderOffset: table, programHeaderCount: count } = elf.header;
  const size = reserved + content.length;
  const bytes = new Uint8Array(offset + size);
  bytes.set(elf.view.bytes);
  bytes.set(content, offset + reserved);
  // Loadable segments must ascend: the new entry follows the last of them, and
  // the entries between it and the slot that is given up move by one.
  const lastLoad = elf.segments.findLastIndex((each) => each.type === SegmentType.load);
  const entries: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const entry = elf.view.slice(table + index * ENTRY_SIZE, ENTRY_SIZE, "a program header").slice();
    if (index !== slot) entries.push(entry);
    if (index === lastLoad)
      entries.push(makeEntry(SegmentType.load, READ_EXECUTE, offset, vaddr, size, PAGE));
  }
  if (slot === undefined) moveTable(bytes, appendix, entries);
  const start = slot === undefined ? offset : table;
  entries.forEach((entry, index) => {
    bytes.set(entry, start + index * ENTRY_SIZE);
  });
  return bytes;
}

/** Points the file header and the table's entry for itself to the table's new place. */
function moveTable(bytes: Uint8Array, appendix: Appendix, entries: Uint8Array[]): void {
  const header = new DataView(bytes.buffer);
  header.setBigUint64(32, BigInt(appendix.offset), true);
  header.setUint16(56, entries.length, true);
  const own = entries.findIndex((entry) => entry[0] === SegmentType.phdr && entry[3] === 0);
  if (own < 0) return;
  const size = entries.length * ENTRY_SIZE;
  entries[own] = makeEntry(SegmentType.phdr, READ, appendix.offset, appendix.vaddr, size, 8);
}

function makeEntry(
  type: number,
  flags: number,
  offset: number,
  vaddr: number,
  size: number,
  align: number,
): Uint8Array {
  const entry = new Uint8Array(ENTRY_SIZE);
  const view = new DataView(entry.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, flags, true);
  view.setBigUint64(8, BigInt(offset), true);
  view.setBigUint64(16, BigInt(vaddr), true);
  view.setBigUint64(24, BigInt(vaddr), true);
  view.setBigUint64(32, BigInt(size), true);
  view.setBigUint64(40, BigInt(size), true);
  view.setBigUint64(48, BigInt(align), true);
  return entry;
}

function roundUp(value: number): number {
  return Math.ceil(value / PAGE) * PAGE;
}
