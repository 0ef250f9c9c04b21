/** A cursor for the formats of unwind records, by address and with checked bounds. */
import { ElfError } from "./error.ts";
import { type ElfFile, fileEnd, fileOffset } from "./file.ts";

export const OMIT = 0xff;
const INDIRECT = 0x80;

/** A cursor over the file-backed bytes of one segment, by address. */
export class Cursor {
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

export function bad(what: string): ElfError {
  return new ElfError("bad-frame", `an unwind record ${what}`);
}
