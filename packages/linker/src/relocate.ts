/** Pass 6, relocate: the bytes of the kernel as they stand in memory, all addresses filled in. */

import type { ObjectRelocation } from "@spore/elf";
import { type Collected, type Target, targetOf } from "./collect.ts";
import { setU64 } from "./elf-writer.ts";
import { LinkError } from "./error.ts";
import type { Layout, PlacedSection } from "./layout.ts";
import type { InputObject } from "./parse.ts";
import { isIndirect, relaxation } from "./relaxation.ts";
import type { Resolved } from "./resolve.ts";

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
  for (const section of layout.sections) {
    if (layout.output[section.output]?.stored) relocator.section(section);
  }
  const data = new DataView(image.buffer);
  for (const [symbol, at] of layout.indirect) {
    setU64(data, at - layout.window.address, relocator.address(collected.indirect.get(symbol)));
  }
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

  section({ object, section, address }: PlacedSection): void {
    const source = this.#resolved.objects[object];
    const home = source?.file.sections[section];
    if (!source || !home) return;
    const bytes = source.file.bytes(home);
    const base = address - this.#layout.window.address;
    this.#image.set(bytes, base);
    for (const relocation of source.file.relocations(section)) {
      const target = targetOf(this.#resolved, object, relocation.symbol);
      this.#apply(source, relocation, target, { name: home.name, bytes, base, address });
    }
  }

  /** The address of a target; 0 for a weak symbol that nobody defines. */
  address(target: Target): number {
    if (target === undefined) return 0;
    if ("place" in target) return this.#layout.places[target.place];
    const base = this.#layout.addressOf(target.object, target.section);
    if (base === undefined) {
      // Not part of the program (SHF_ALLOC), or past the end of its section: only a damaged object says so.
      throw new LinkError("missing-symbol", "a section is referred to that is no part of a program");
    }
    return base + target.value;
  }

  #apply(
    source: InputObject,
    { offset, type, symbol, addend }: ObjectRelocation,
    target: Target,
    home: { name: string; bytes: Uint8Array; base: number; address: number },
  ): void {
    const place = home.address + offset;
    const at = home.base + offset;
    const where = (): string =>
      `${source.name}: ${home.name}+0x${offset.toString(16)}, which refers to ${source.file.symbolName(symbol) || "a section"}`;
    const room = (size: number): void => {
      if (offset + size > home.bytes.length)
        throw new LinkError("relocation-overflow", `${where()}: the field is cut off`);
    };
    room(type === Kind.absolute64 || type === Kind.relative64 ? 8 : 4);
    if (isIndirect(type)) {
      const relaxed = target && relaxation(home.bytes, offset);
      if (relaxed) {
        this.#image.set(relaxed.bytes, home.base + relaxed.at);
        const field = relaxed.field - offset;
        // The distance counts from the end of the field, wherever that is now.
        this.#set32(at + field, this.address(target) + addend - (place + field), where);
        return;
      }
      const entry = this.#layout.indirect.get(source.file.symbolName(symbol));
      if (entry === undefined) throw new LinkError("missing-symbol", `${where()}: it has no entry`);
      this.#set32(at, entry + addend - place, where);
      return;
    }
    const value = this.address(target) + addend;
    switch (type) {
      case Kind.absolute64:
        setU64(this.#data, at, this.#checked(value, where));
        return;
      case Kind.relative64:
        this.#data.setBigInt64(at, BigInt(value - place), true);
        return;
      case Kind.relative32:
      case Kind.call32:
      case Kind.signed32:
        this.#set32(at, type === Kind.signed32 ? value : value - place, where);
        return;
      case Kind.absolute32:
        if (value < 0 || value > 0xffff_ffff) throw overflow(where());
        this.#data.setUint32(at, value, true);
        return;
      default:
        throw new LinkError("unknown-relocation", `${where()}: relocation type ${type} is not used here`);
    }
  }

  #set32(at: number, value: number, where: () => string): void {
    if (value < -0x8000_0000 || value > 0x7fff_ffff) throw overflow(where());
    this.#data.setInt32(at, value, true);
  }

  #checked(value: number, where: () => string): number {
    if (value < 0 || !Number.isSafeInteger(value)) throw overflow(where());
    return value;
  }
}

function overflow(where: string): LinkError {
  return new LinkError("relocation-overflow", `${where}: the address does not fit its field`);
}
