/** Checked little-endian reads: out of bounds is an ElfError, never a RangeError. */
import { ElfError, type ElfErrorReason } from "./error.ts";

const TWO_32 = 2 ** 32;
/** High words from here up would make a number that a double cannot hold exactly. */
const HIGH_LIMIT = 2 ** 21;
const utf8 = new TextDecoder();

/** A window of a file with reads that check their bounds. */
export class View {
  readonly bytes: Uint8Array;
  readonly #data: DataView;
  readonly #length: number;

  constructor(bytes: Uint8Array) {
    // A subclass, as Node.js reads files into, takes ten times as long to cut.
    this.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#length = bytes.length;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get length(): number {
    return this.bytes.length;
  }

  /** Throws unless `[offset, offset + length)` lies inside. */
  check(offset: number, length: number, what: string): void {
    // Also false for what is no number, and for what is too large to be added exactly.
    if (!(offset >= 0 && length >= 0 && offset + length <= this.#length)) {
      throw new ElfError("truncated", `${what} reaches beyond the end of the file`);
    }
  }

  /** The bytes `[offset, offset + length)`, shared with this view. */
  slice(offset: number, length: number, what: string): Uint8Array {
    this.check(offset, length, what);
    return this.bytes.subarray(offset, offset + length);
  }

  /**
   * All 32-bit words of the file, for tables that are read from end to end: what is read often
   * is checked once, by `check`. Copied if the bytes do not begin at a word.
   */
  words(): Uint32Array {
    const { bytes } = this;
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
    return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 2);
  }

  u8(offset: number): number {
    this.check(offset, 1, "a field");
    return this.#data.getUint8(offset);
  }

  u16(offset: number): number {
    this.check(offset, 2, "a field");
    return this.#data.getUint16(offset, true);
  }

  u32(offset: number): number {
    this.check(offset, 4, "a field");
    return this.#data.getUint32(offset, true);
  }

  i16(offset: number): number {
    this.check(offset, 2, "a field");
    return this.#data.getInt16(offset, true);
  }

  i32(offset: number): number {
    this.check(offset, 4, "a field");
    return this.#data.getInt32(offset, true);
  }

  /** A 64-bit number that must fit a double exactly. */
  u64(offset: number): number {
    const value = this.u64OrUndefined(offset);
    if (value === undefined) {
      throw new ElfError("out-of-range", `the number at offset ${offset} is too large`);
    }
    return value;
  }

  /** A 64-bit number, or undefined if a double cannot hold it. */
  u64OrUndefined(offset: number): number | undefined {
    this.check(offset, 8, "a field");
    const high = this.#data.getUint32(offset + 4, true);
    if (high >= HIGH_LIMIT) return undefined;
    return high * TWO_32 + this.#data.getUint32(offset, true);
  }

  /** A signed 64-bit number that must fit a double exactly. */
  i64(offset: number): number {
    this.check(offset, 8, "a field");
    const value = Number(this.#data.getBigInt64(offset, true));
    if (!Number.isSafeInteger(value)) {
      throw new ElfError("out-of-range", `the number at offset ${offset} is too large`);
    }
    return value;
  }

  /** The NUL-terminated string at `offset`; its NUL must come before `end`. */
  string(offset: number, end: number, reason: ElfErrorReason = "bad-string"): string {
    if (offset < 0 || end > this.bytes.length || offset >= end) {
      throw new ElfError(reason, "a string lies outside its table");
    }
    const nul = this.bytes.indexOf(0, offset);
    if (nul < 0 || nul >= end) throw new ElfError(reason, "a string has no end");
    return utf8.decode(this.bytes.subarray(offset, nul));
  }
}
