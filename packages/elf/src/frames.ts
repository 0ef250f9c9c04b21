/**
 * Unwind records (.eh_frame): the bounds of functions, also in stripped files.
 * Format: Linux Standard Base, "Exception Frames".
 */
import { ElfError } from "./error.ts";
import { type ElfFile, fileEnd, fileOffset, SegmentType, segmentOfType } from "./file.ts";

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

const OMIT = 0xff;
const INDIRECT = 0x80;

/** A cursor over the file-backed bytes of one segment, by address. */
class Cursor {
  readonly #elf: ElfFile;
  readonly #delta: number;
  readonly #end: number;
  at: number;

  constructor(elf: ElfFile, address: number) {
    this.#elf = elf;
    this.#delta = fileOffset(elf, address, 0) - address;
    this.#end = fileEnd(elf, address) - this.#delta;
    this.at = address;
  }

  get end(): number {
    return this.#end;
  }

  #take(size: number): number {
    if (this.at + size > this.#end) throw bad("reaches beyond its segment");
    const offset = this.at + this.#delta;
    this.at += size;
    return offset;
  }

  u8(): number {
    return this.#elf.view.u8(this.#take(1));
  }

  u16(): number {
    return this.#elf.view.u16(this.#take(2));
  }

  u32(): number {
    return this.#elf.view.u32(this.#take(4));
  }

  bytes(size: number): Uint8Array {
    return this.#elf.view.slice(this.#take(size), size, "an unwind record");
  }

  uleb(): number {
    return this.#leb().value;
  }

  sleb(): number {
    const { value, negativeFrom } = this.#leb();
    return value >= negativeFrom / 2 ? value - negativeFrom : value;
  }

  #leb(): { value: number; negativeFrom: number } {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 7; count++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) return { value, negativeFrom: scale };
    }
    throw bad("holds a number that is too long");
  }

  /** A pointer in DW_EH_PE encoding; undefined when omitted or null. */
  pointer(encoding: number, dataBase: number): number | undefined {
    if (encoding === OMIT) return undefined;
    const from = this.at;
    const value = this.#rawPointer(encoding & 0x0f);
    if (value === 0) return undefined;
    const base = [0, from, undefined, dataBase][(encoding >> 4) & 7];
    if (base === undefined || (encoding & INDIRECT) !== 0) throw bad("holds an unknown pointer");
    const address = base + value;
    if (address < 0 || !Number.isSafeInteger(address)) throw bad("points outside memory");
    return address;
  }

  #rawPointer(format: number): number {
    const { view } = this.#elf;
    switch (format) {
      case 0x00:
      case 0x04:
        return view.u64(this.#take(8));
      case 0x01:
        return this.uleb();
      case 0x02:
        return this.u16();
      case 0x03:
        return this.u32();
      case 0x09:
        return this.sleb();
      case 0x0a:
        return view.i16(this.#take(2));
      case 0x0b:
        return view.i32(this.#take(4));
      case 0x0c:
        return view.i64(this.#take(8));
      default:
        throw bad("holds an unknown pointer");
    }
  }

  /** A size in the format of a pointer, without its base. */
  size(encoding: number): number {
    const value = this.#rawPointer(encoding & 0x0f);
    if (value < 0) throw bad("holds a negative size");
    return value;
  }

  /** A short NUL-terminated string. */
  text(): string {
    let text = "";
    for (let byte = this.u8(); byte !== 0; byte = this.u8()) {
      if (text.length >= 16) throw bad("has a long augmentation");
      text += String.fromCharCode(byte);
    }
    return text;
  }
}

function bad(what: string): ElfError {
  return new ElfError("bad-frame", `an unwind record ${what}`);
}

/**
 * All frame records that the search table (.eh_frame_hdr) names, by address.
 * Empty if the file has no such table.
 */
export function readFrames(elf: ElfFile): FrameRecord[] {
  const segment = segmentOfType(elf, SegmentType.gnuEhFrame);
  if (!segment) return [];
  const table = new Cursor(elf, segment.vaddr);
  if (table.u8() !== 1) throw bad("table has an unknown version");
  const frameEncoding = table.u8();
  const countEncoding = table.u8();
  const tableEncoding = table.u8();
  table.pointer(frameEncoding, segment.vaddr);
  if (countEncoding === OMIT || tableEncoding === OMIT) return [];
  const count = table.size(countEncoding);
  if (count > (table.end - table.at) / 2) throw bad("table is cut off");
  const commons = new Map<number, FrameCommon>();
  const records: FrameRecord[] = [];
  for (let index = 0; index < count; index++) {
    table.pointer(tableEncoding, segment.vaddr);
    const address = table.pointer(tableEncoding, segment.vaddr);
    if (address === undefined) throw bad("is missing");
    const record = readRecord(elf, address, commons);
    if (record) records.push(record);
  }
  return records.sort((a, b) => a.start - b.start || a.end - b.end);
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
