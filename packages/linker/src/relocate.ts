/** Pass 6, relocate: the bytes of the kernel as they stand in memory, all addresses filled in. */

import { type Collected, placeOf } from "./collect.ts";
import { setU64 } from "./elf-writer.ts";
import { LinkError } from "./error.ts";
import type { Layout } from "./layout.ts";
import { isIndirect, Relaxation, relax, relaxation } from "./relaxation.ts";
import { Home, type LinkedObject, PLACES, type Resolved } from "./resolve.ts";

/** R_X86_64_*: the kinds that compilers emit for code like this. */
const Kind = {
  absolute64: 1,
  relative32: 2,
  call32: 4,
  absolute32: 10,
  signed32: 11,
  relative64: 24,
} as const;

/** Fills in all addresses; answers the stored bytes from the window's address on. */
export function relocate(resolved: Resolved, collected: Collected, layout: Layout): Uint8Array {
  const image = new Uint8Array(layout.storedLength);
  const relocator = new Relocator(resolved, layout, image);
  for (const section of collected.sections) {
    if (layout.output[layout.outputs[section] ?? 0]?.stored) relocator.section(section);
  }
  relocator.table(collected.indirect);
  return image;
}

class Relocator {
  readonly #resolved: Resolved;
  readonly #layout: Layout;
  readonly #image: Uint8Array;
  readonly #data: DataView;

  constructor(resolved: Resolved, layout: Layout, image: Uint8Array) {
    this.#resolved = resolved;
    this.#layout = layout;
    this.#image = image;
    this.#data = new DataView(image.buffer);
  }

  section(number: number): void {
    const source = this.#resolved.objects[this.#resolved.objectOf[number] ?? 0];
    if (!source) return;
    const section = number - source.firstSection;
    const bytes = source.file.bytes(section);
    const address = this.#layout.addresses[number] ?? 0;
    this.#image.set(bytes, address - this.#layout.window.address);
    const { starts, ends } = source.file.relocations;
    const end = ends[section] ?? 0;
    for (let at = starts[section] ?? 0; at < end; at++) this.#apply(source, at, address, bytes.length);
  }

  /** The table of addresses. */
  table(indirect: ReadonlyMap<string, number>): void {
    for (const [place, symbol] of indirect) {
      const at = this.#layout.indirect.get(place) ?? 0;
      setU64(this.#data, at - this.#layout.window.address, this.#address(symbol));
    }
  }

  /** The address of a symbol; 0 for a weak one that nobody defines. */
  #address(symbol: number): number {
    const home = this.#resolved.homes[symbol] ?? Home.missing;
    if (home === Home.none) return 0;
    if (home < 0) {
      const place = PLACES[-home - 1];
      if (place !== undefined) return this.#layout.places[place];
    }
    const base = this.#layout.addresses[home];
    if (!base) {
      // Not part of the program (SHF_ALLOC), or past the end of its section: only a damaged object says so.
      throw new LinkError("missing-symbol", "a section is referred to that is no part of a program");
    }
    return base + (this.#resolved.values[symbol] ?? 0);
  }

  /** One relocation of a section of that length at that address. */
  #apply(source: LinkedObject, index: number, address: number, length: number): void {
    const { offsets, types, symbols, addends } = source.file.relocations;
    const offset = offsets[index] ?? 0;
    const type = types[index] ?? 0;
    const symbol = source.firstSymbol + (symbols[index] ?? 0);
    const place = address + offset;
    const at = place - this.#layout.window.address;
    if (offset + (type === Kind.absolute64 || type === Kind.relative64 ? 8 : 4) > length) {
      throw failed("relocation-overflow", source, index, "the field is cut off");
    }
    if (isIndirect(type)) {
      this.#applyIndirect(source, index, at, at - offset);
      return;
    }
    const value = this.#address(symbol) + (addends[index] ?? 0);
    switch (type) {
      case Kind.relative32:
      case Kind.call32:
        this.#set32(at, value - place, source, index);
        return;
      case Kind.absolute64:
        if (value < 0 || !Number.isSafeInteger(value)) throw overflow(source, index);
        setU64(this.#data, at, value);
        return;
      case Kind.signed32:
        this.#set32(at, value, source, index);
        return;
      case Kind.absolute32:
        if (value < 0 || value > 0xffff_ffff) throw overflow(source, index);
        this.#data.setUint32(at, value, true);
        return;
      case Kind.relative64:
        this.#data.setBigInt64(at, BigInt(value - place), true);
        return;
      default:
        throw failed("unknown-relocation", source, index, `relocation type ${type} is not used here`);
    }
  }

  /** An instruction that reads an address from the table, unless it can do without; `start`: of its section. */
  #applyIndirect(source: LinkedObject, index: number, at: number, start: number): void {
    const { symbols, addends } = source.file.relocations;
    const symbol = source.firstSymbol + (symbols[index] ?? 0);
    const addend = addends[index] ?? 0;
    const { address } = this.#layout.window;
    const isNone = this.#resolved.homes[symbol] === Home.none;
    const how = isNone ? Relaxation.none : relaxation(this.#image, at, start);
    if (how !== Relaxation.none) {
      const field = relax(this.#image, at, how);
      // The distance counts from the end of the field, wherever that is now.
      this.#set32(field, this.#address(symbol) + addend - (address + field), source, index);
      return;
    }
    const entry = this.#layout.indirect.get(placeOf(this.#resolved, symbol));
    if (entry === undefined) throw failed("missing-symbol", source, index, "it has no entry");
    this.#set32(at, entry + addend - (address + at), source, index);
  }

  #set32(at: number, value: number, source: LinkedObject, index: number): void {
    if (value < -0x8000_0000 || value > 0x7fff_ffff) throw overflow(source, index);
    this.#data.setInt32(at, value, true);
  }
}

function overflow(source: LinkedObject, index: number): LinkError {
  return failed("relocation-overflow", source, index, "the address does not fit its field");
}

/** An error that names the relocation. */
function failed(
  reason: "relocation-overflow" | "missing-symbol" | "unknown-relocation",
  { name, file }: LinkedObject,
  index: number,
  problem: string,
): LinkError {
  const { starts, ends, offsets, symbols } = file.relocations;
  const section = starts.findIndex((start, at) => start <= index && index < (ends[at] ?? 0));
  const place = `${file.sectionName(section)}+0x${(offsets[index] ?? 0).toString(16)}`;
  const target = file.symbolName(symbols[index] ?? 0) || "a section";
  return new LinkError(reason, `${name}: ${place}, which refers to ${target}: ${problem}`);
}
