/** Adds an executable segment to a file without moving anything that is in it. */
import { type ElfFile, type Segment, SegmentType } from "@spore/elf";

const PAGE = 4096;
const ENTRY_SIZE = 56;
const READ_EXECUTE = 5;

/** Where a new segment goes and which program header makes room for it. */
export interface Appendix {
  readonly vaddr: number;
  readonly offset: number;
  /** Index of the program header that is given up. */
  readonly slot: number;
}

/** Finds a place behind everything else, or undefined if no program header can be spared. */
export function planAppendix(elf: ElfFile): Appendix | undefined {
  const slot = spareSlot(elf.segments);
  if (slot === undefined || elf.loads.length === 0) return undefined;
  const end = Math.max(...elf.loads.map((load) => load.vaddr + load.memorySize));
  return { vaddr: roundUp(end), offset: roundUp(elf.view.length), slot };
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

/** The file with the segment appended. `bytes` is not changed. */
export function appendSegment(elf: ElfFile, appendix: Appendix, content: Uint8Array): Uint8Array {
  const { programHeaderOffset: table, programHeaderCount: count } = elf.header;
  const bytes = new Uint8Array(appendix.offset + content.length);
  bytes.set(elf.view.bytes);
  bytes.set(content, appendix.offset);
  // Loadable segments must ascend: the new entry follows the last of them, and
  // the entries between it and the slot that is given up move by one.
  const entry = (index: number): Uint8Array =>
    elf.view.slice(table + index * ENTRY_SIZE, ENTRY_SIZE, "a program header");
  const lastLoad = elf.segments.findLastIndex((each) => each.type === SegmentType.load);
  const order: (number | "new")[] = [];
  for (let index = 0; index < count; index++) {
    if (index !== appendix.slot) order.push(index);
    if (index === lastLoad) order.push("new");
  }
  order.forEach((each, index) => {
    bytes.set(each === "new" ? makeEntry(appendix, content.length) : entry(each), table + index * ENTRY_SIZE);
  });
  return bytes;
}

function makeEntry(appendix: Appendix, size: number): Uint8Array {
  const entry = new Uint8Array(ENTRY_SIZE);
  const view = new DataView(entry.buffer);
  view.setUint32(0, SegmentType.load, true);
  view.setUint32(4, READ_EXECUTE, true);
  view.setBigUint64(8, BigInt(appendix.offset), true);
  view.setBigUint64(16, BigInt(appendix.vaddr), true);
  view.setBigUint64(24, BigInt(appendix.vaddr), true);
  view.setBigUint64(32, BigInt(size), true);
  view.setBigUint64(40, BigInt(size), true);
  view.setBigUint64(48, BigInt(PAGE), true);
  return entry;
}

function roundUp(value: number): number {
  return Math.ceil(value / PAGE) * PAGE;
}
