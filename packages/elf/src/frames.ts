/**
 * Unwind records (.eh_frame): the bounds of functions, also in stripped files.
 * Format: Linux Standard Base, "Exception Frames".
 */
import { bad, Cursor, OMIT } from "./cursor.ts";
import { type ElfFile, fileOffset, SegmentType, segmentOfType } from "./file.ts";
import { readSections } from "./sections.ts";

const TABLE_HEADER = 12;
/** Bytes 1, 0x1b, 0x03, 0x3b: what every linker writes. */
const USUAL_TABLE = 0x3b031b01;

/** A common information entry: what its frame records share. */
export interface FrameCommon {
  /** Augmentation string, for example "zRS"; `S` marks a signal frame. */
  readonly augmentation: string;
  readonly codeAlign: number;
  readonly dataAlign: number;
  readonly returnRegister: number;
  /** How FDE addresses are encoded (DW_EH_PE_*). */
  readonly pointerEncoding: number;
  /** How the address of the language-specific data is encoded; 0xff: not there. */
  readonly dataEncoding: number;
  /** The whole entry as stored, from its length field to its end. */
  readonly bytes: Uint8Array;
  /** Address of its first byte. */
  readonly address: number;
  /** Initial call frame instructions. */
  readonly instructions: Uint8Array;
}

/** One frame description entry: a function or a part of one. */
export interface FrameRecord {
  /** First address. */
  readonly start: number;
  /** End, exclusive. */
  readonly end: number;
  readonly common: FrameCommon;
  /** Address of the language-specific data (exception table), if any. */
  readonly data?: number;
  /** Call frame instructions. */
  readonly instructions: Uint8Array;
}

/**
 * All frame records by address: those that the search table (.eh_frame_hdr)
 * names, or, in files without one, those of the .eh_frame section.
 */
export function readFrames(elf: ElfFile): FrameRecord[] {
  const segment = segmentOfType(elf, SegmentType.gnuEhFrame);
  const addresses = segment ? tableAddresses(elf, segment.vaddr) : sectionAddresses(elf);
  const commons = new Map<number, FrameCommon>();
  const records: FrameRecord[] = [];
  for (const address of addresses) {
    const record = readRecord(elf, address, commons);
    if (record) records.push(record);
  }
  return records.sort((a, b) => a.start - b.start || a.end - b.end);
}

/**
 * Finds the frame record of an address without reading all of them; undefined
 * if the file has no search table of the usual form.
 */
export function frameFinder(elf: ElfFile): ((address: number) => FrameRecord | undefined) | undefined {
  const segment = segmentOfType(elf, SegmentType.gnuEhFrame);
  if (!segment) return undefined;
  const { view } = elf;
  const at = fileOffset(elf, segment.vaddr, TABLE_HEADER);
  // Version 1; then how the address of the records, the count and the entries are written.
  if (view.u32(at) !== USUAL_TABLE) return undefined;
  const count = view.u32(at + 8);
  view.check(at + TABLE_HEADER, count * 8, "the table of unwind records");
  const startOf = (index: number): number => segment.vaddr + view.i32(at + TABLE_HEADER + index * 8);
  const commons = new Map<number, FrameCommon>();
  return (address) => {
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (startOf(middle) <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    const record = segment.vaddr + view.i32(at + TABLE_HEADER + (low - 1) * 8 + 4);
    const found = readRecord(elf, record, commons);
    return found && address < found.end ? found : undefined;
  };
}

function tableAddresses(elf: ElfFile, start: number): number[] {
  const table = new Cursor(elf, start);
  if (table.u8() !== 1) throw bad("table has an unknown version");
  const frameEncoding = table.u8();
  const countEncoding = table.u8();
  const tableEncoding = table.u8();
  table.pointer(frameEncoding, start);
  if (countEncoding === OMIT || tableEncoding === OMIT) return [];
  const count = table.size(countEncoding);
  if (count > (table.end - table.at) / 2) throw bad("table is cut off");
  const addresses: number[] = [];
  for (let index = 0; index < count; index++) {
    table.pointer(tableEncoding, start);
    const address = table.pointer(tableEncoding, start);
    if (address === undefined) throw bad("is missing");
    addresses.push(address);
  }
  return addresses;
}

function sectionAddresses(elf: ElfFile): number[] {
  const section = readSections(elf).find((each) => each.name === ".eh_frame" && each.address !== 0);
  const addresses: number[] = [];
  const end = section ? section.address + section.size : 0;
  for (let at = section?.address ?? 0; at + 8 <= end; ) {
    const cursor = new Cursor(elf, at);
    // A length of zero ends the records of one object file.
    const length = cursor.u32();
    if (length !== 0 && cursor.u32() !== 0) addresses.push(at);
    at += 4 + length;
  }
  return addresses;
}

/** Positions of a record: `body` is the address of the field after the length. */
function readLength(cursor: Cursor): { body: number; end: number } {
  const length = cursor.u32();
  // 0xffffffff announces 64-bit lengths, which no x86-64 tool writes here.
  if (length === 0 || length === 0xffffffff) throw bad("has no length");
  const body = cursor.at;
  if (body + length > cursor.end) throw bad("reaches beyond its segment");
  return { body, end: body + length };
}

function readRecord(
  elf: ElfFile,
  address: number,
  commons: Map<number, FrameCommon>,
): FrameRecord | undefined {
  const cursor = new Cursor(elf, address);
  const { body, end } = readLength(cursor);
  const back = cursor.u32();
  if (back === 0) throw bad("is of the wrong kind");
  const commonAddress = body - back;
  let common = commons.get(commonAddress);
  if (!common) {
    common = readCommon(elf, commonAddress);
    commons.set(commonAddress, common);
  }
  const start = cursor.pointer(common.pointerEncoding, 0);
  if (start === undefined) return undefined;
  const size = cursor.size(common.pointerEncoding);
  if (!Number.isSafeInteger(start + size)) throw bad("points outside memory");
  let data: number | undefined;
  if (common.augmentation.startsWith("z")) {
    const length = cursor.uleb();
    const next = cursor.at + length;
    if (length > 0) data = cursor.pointer(common.dataEncoding, 0);
    if (next > end || cursor.at > next) throw bad("is shorter than it says");
    cursor.at = next;
  }
  if (cursor.at > end) throw bad("is shorter than it says");
  const instructions = cursor.bytes(end - cursor.at);
  return { start, end: start + size, common, ...(data !== undefined && { data }), instructions };
}

function readCommon(elf: ElfFile, address: number): FrameCommon {
  const cursor = new Cursor(elf, address);
  const { end } = readLength(cursor);
  if (cursor.u32() !== 0) throw bad("has no common entry");
  const version = cursor.u8();
  if (version !== 1 && version !== 3) throw bad("has an unknown version");
  const augmentation = cursor.text();
  const codeAlign = cursor.uleb();
  const dataAlign = cursor.sleb();
  const returnRegister = version === 1 ? cursor.u8() : cursor.uleb();
  let pointerEncoding = 0;
  let dataEncoding = OMIT;
  if (augmentation.startsWith("z")) {
    const next = cursor.uleb() + cursor.at;
    for (const letter of augmentation.slice(1)) {
      if (letter === "R") pointerEncoding = cursor.u8();
      else if (letter === "L") dataEncoding = cursor.u8();
      else if (letter === "P") cursor.size(cursor.u8());
      else if (letter !== "S" && letter !== "B") throw bad("has an unknown augmentation");
    }
    if (next > end || cursor.at > next) throw bad("is shorter than it says");
    cursor.at = next;
  } else if (augmentation !== "") {
    throw bad("has an unknown augmentation");
  }
  if (cursor.at > end) throw bad("is shorter than it says");
  const instructions = cursor.bytes(end - cursor.at);
  cursor.at = address;
  const bytes = cursor.bytes(end - address);
  return {
    augmentation,
    codeAlign,
    dataAlign,
    returnRegister,
    pointerEncoding,
    dataEncoding,
    bytes,
    address,
    instructions,
  };
}
