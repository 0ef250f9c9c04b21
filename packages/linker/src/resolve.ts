/**
 * Pass 3, resolve: which objects take part, and what each of their symbols means.
 *
 * As every linker does: the generated object and the entry come first, and a member of the
 * archive takes part as soon as it defines a symbol that one that takes part lacks (a weak
 * reference does without).
 *
 * From here on sections have one numbering for all objects, and so have symbols.
 */

import { RelocatableObject, SymbolBinding, SymbolSection } from "@spore/elf";
import { LinkError } from "./error.ts";
import type { Input, InputObject } from "./parse.ts";

/** An object that takes part. */
export interface LinkedObject extends InputObject {
  /** Numbers of its first section and its first symbol. */
  readonly firstSection: number;
  readonly firstSymbol: number;
}

/** The objects of a link and the meaning of their symbols. */
export interface Resolved {
  /** The generated object first, then members in the archive's order. */
  readonly objects: readonly LinkedObject[];
  readonly sectionCount: number;
  /** By section: index of its object. */
  readonly objectOf: Uint32Array;
  /** By symbol: the section where it is defined, in whichever object; or one of {@link Home}, or of PLACES. */
  readonly homes: Int32Array;
  /** By symbol: its offset in that section. */
  readonly values: Float64Array;
  /** The symbol that defines a name. */
  readonly globals: ReadonlyMap<string, number>;
}

/** What `Resolved.homes` says of symbols that have no section. PLACES[n] is -n - 1. */
export const Home = {
  /** Weak, and nobody defines it. No section of an object has number 0: it is its empty one. */
  none: 0,
  /** Nobody defines it: a mistake if somebody refers to it. */
  missing: -1000,
} as const;

/** Symbols that stand for places of the result: see layout.ts. */
export const PLACES = ["spore_text_start", "spore_text_end", "spore_image_end"] as const;

/** The symbol at which the kernel begins. */
export const ENTRY = "spore_boot";

/** Finds the objects that take part and what their symbols mean. */
export function resolve(input: Input, generated: Uint8Array): Resolved {
  const first = { name: "generated", file: new RelocatableObject(generated) };
  const members = pullMembers(input, first);
  const objects: LinkedObject[] = [];
  let sectionCount = 0;
  let symbolCount = 0;
  for (const object of [first, ...members.map((member) => input.object(member))]) {
    objects.push({ ...object, firstSection: sectionCount, firstSymbol: symbolCount });
    sectionCount += object.file.sections.count;
    symbolCount += object.file.symbols.count;
  }
  const objectOf = new Uint32Array(sectionCount);
  for (const [index, { firstSection }] of objects.entries()) objectOf.fill(index, firstSection);
  const homes = new Int32Array(symbolCount);
  const values = new Float64Array(symbolCount);
  const names = new Names(homes, values);
  const dropped = droppedSections(objects, sectionCount);
  for (const object of objects) readSymbols(object, dropped, homes, values, names);
  names.finish();
  return { objects, sectionCount, objectOf, homes, values, globals: names.defined };
}

/** Notes where the symbols of an object are defined, as far as it says so itself. */
function readSymbols(
  { name: file, file: source, firstSection, firstSymbol }: LinkedObject,
  dropped: Uint8Array,
  homes: Int32Array,
  values: Float64Array,
  names: Names,
): void {
  const { count, firstGlobal, sections, bindings } = source.symbols;
  values.set(source.symbols.values, firstSymbol);
  for (let index = 0; index < count; index++) {
    const section = sections[index] ?? 0;
    const number = firstSection + section;
    const symbol = firstSymbol + index;
    if (index < firstGlobal) {
      const placed = section !== SymbolSection.undefined && section < SymbolSection.reserved;
      homes[symbol] = placed ? number : Home.missing;
      continue;
    }
    const name = source.symbolName(index);
    const weak = bindings[index] === SymbolBinding.weak;
    if (section >= SymbolSection.reserved) {
      throw new LinkError("unknown-relocation", `${file}: symbol ${name} has no section`);
    }
    if (section === SymbolSection.undefined || dropped[number] === 1) {
      names.lacks(name, symbol, weak);
      continue;
    }
    homes[symbol] = number;
    if (!names.define(name, symbol, weak)) {
      throw new LinkError("duplicate-symbol", `${name} is defined twice, again in ${file}`);
    }
  }
}

/** The names that objects share. */
class Names {
  readonly defined = new Map<string, number>();
  readonly #homes: Int32Array;
  readonly #values: Float64Array;
  /** Symbols that are defined and give way to a strong one. */
  readonly #weak = new Set<number>();
  /** Symbols that mean what another one says. */
  readonly #others: { name: string; symbol: number; weak: boolean }[] = [];

  constructor(homes: Int32Array, values: Float64Array) {
    this.#homes = homes;
    this.#values = values;
  }

  /** A symbol with a definition; false if there is one already to which it cannot give way. */
  define(name: string, symbol: number, weak: boolean): boolean {
    const known = this.defined.get(name);
    if (weak) this.#weak.add(symbol);
    if (known === undefined) {
      this.defined.set(name, symbol);
      return true;
    }
    if (!weak && !this.#weak.has(known)) return false;
    if (!weak) this.defined.set(name, symbol);
    this.lacks(name, weak ? symbol : known, weak);
    return true;
  }

  /** A symbol that another object defines. */
  lacks(name: string, symbol: number, weak: boolean): void {
    this.#others.push({ name, symbol, weak });
  }

  /** Once everything is defined: what the others mean. */
  finish(): void {
    for (const { name, symbol, weak } of this.#others) {
      const definition = this.defined.get(name);
      this.#homes[symbol] =
        definition === undefined ? homeOf(name, weak) : (this.#homes[definition] ?? Home.missing);
      this.#values[symbol] = definition === undefined ? 0 : (this.#values[definition] ?? 0);
    }
  }
}

/** The home of a symbol that no object defines. */
function homeOf(name: string, weak: boolean): number {
  const place = (PLACES as readonly string[]).indexOf(name);
  if (place >= 0) return -place - 1;
  return weak ? Home.none : Home.missing;
}

/** Indices of the members that take part, ascending. */
function pullMembers(input: Input, generated: InputObject): readonly number[] {
  const pulled = new Set<number>();
  const pull = (name: string): void => {
    const member = input.archive.symbols.get(name);
    if (member !== undefined) pulled.add(member);
  };
  const pullUndefined = ({ file }: InputObject): void => {
    const { count, firstGlobal, sections, bindings } = file.symbols;
    for (let index = firstGlobal; index < count; index++) {
      const lacks = sections[index] === SymbolSection.undefined && bindings[index] !== SymbolBinding.weak;
      if (lacks) pull(file.symbolName(index));
    }
  };
  pull(ENTRY);
  pullUndefined(generated);
  // A set that grows while it is walked is walked to its end.
  for (const member of pulled) pullUndefined(input.object(member));
  return [...pulled].sort((a, b) => a - b);
}

/** By section, 1: it belongs to a group whose first copy lies elsewhere. */
function droppedSections(objects: readonly LinkedObject[], count: number): Uint8Array {
  const seen = new Set<string>();
  const dropped = new Uint8Array(count);
  for (const { file, firstSection } of objects) {
    for (const { signature, sections } of file.groups) {
      if (seen.has(signature)) for (const section of sections) dropped[firstSection + section] = 1;
      seen.add(signature);
    }
  }
  return dropped;
}
