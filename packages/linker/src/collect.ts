/**
 * Pass 4, collect: what is reachable, and through which piece.
 *
 * The core comes first: whatever the entries reach without the generated tables. Then the
 * services and the system calls, one after another: what a piece reaches that nothing
 * before it did is what it adds.
 */

import { SectionFlag, SectionType } from "@spore/elf";
import { LinkError } from "./error.ts";
import type { InputObject } from "./parse.ts";
import { isIndirect, Relaxation, relaxation } from "./relaxation.ts";
import { Home, type Resolved } from "./resolve.ts";
import type { Selection } from "./select.ts";

/** Everything that is kept. */
export interface Collected {
  /** Sections, in the order of objects and of each object's sections. */
  readonly sections: readonly number[];
  /** By section: the piece that brought it, as its index in `pieces` plus one; 0: it is not kept. */
  readonly owners: Uint32Array;
  /** "core", then the names of services and system calls. */
  readonly pieces: readonly string[];
  /** Places whose address some instruction reads from memory, each once: as `placeOf` says, and a symbol for it. */
  readonly indirect: ReadonlyMap<string, number>;
}

/** Sections that no table names and that must stay. */
const ALWAYS = ".spore.";

/** The same for all symbols that stand for the same place. */
export function placeOf({ homes, values }: Resolved, symbol: number): string {
  return `${homes[symbol]}+${values[symbol]}`;
}

/** Walks everything that the pieces reach. */
export function collect(resolved: Resolved, selection: Selection): Collected {
  const walk = new Walk(resolved);
  walk.root();
  for (const [name, pieces] of [
    ["spore_services", selection.services],
    ["spore_calls", selection.calls],
  ] as const) {
    // Tables that the core does not refer to bring nothing in.
    const table = walk.home(`${name}_start`);
    if (!walk.reached(table)) continue;
    for (const { name: piece, symbol } of pieces) walk.piece(piece, symbol);
    walk.entries(table);
  }
  return walk.finish();
}

class Walk {
  readonly #resolved: Resolved;
  readonly #owners: Uint32Array;
  /** Sections that stay or go together. */
  readonly #groups = new Map<number, readonly number[]>();
  readonly #pieces: string[] = ["core"];
  readonly #pending: number[] = [];
  readonly #indirect = new Map<string, number>();

  constructor(resolved: Resolved) {
    this.#resolved = resolved;
    this.#owners = new Uint32Array(resolved.sectionCount);
    for (const { file, firstSection } of resolved.objects) {
      for (const { sections } of file.groups) {
        const numbers = sections.map((section) => firstSection + section);
        for (const number of numbers) this.#groups.set(number, numbers);
      }
    }
  }

  /** The core: sections that always stay, and what they reach besides the generated tables. */
  root(): void {
    for (const { file, firstSection } of this.#resolved.objects) {
      const { count, flags } = file.sections;
      for (let section = 0; section < count; section++) {
        if (((flags[section] ?? 0) & SectionFlag.alloc) === 0) continue;
        if (file.sectionNameBegins(section, ALWAYS)) this.#reach(firstSection + section);
      }
    }
    this.#drain();
  }

  /** A piece, by its symbol. */
  piece(name: string, symbol: string): void {
    this.#pieces.push(name);
    const home = this.home(symbol);
    if (home === Home.none) throw new LinkError("missing-symbol", `${symbol} is not defined`);
    this.#reach(home);
    this.#drain();
  }

  /** What a table refers to besides the pieces: the handler of calls that are left out. */
  entries(table: number): void {
    this.#follow(table);
    this.#drain();
  }

  /** The section in which a name is defined; `Home.none` if it is not. */
  home(name: string): number {
    const symbol = this.#resolved.globals.get(name);
    return symbol === undefined ? Home.none : (this.#resolved.homes[symbol] ?? Home.none);
  }

  reached(section: number): boolean {
    return this.#owners[section] !== 0;
  }

  finish(): Collected {
    const owners = this.#owners;
    const sections: number[] = [];
    for (let section = 0; section < owners.length; section++) {
      if (owners[section] !== 0) sections.push(section);
    }
    return { sections, owners, pieces: this.#pieces, indirect: this.#indirect };
  }

  #reach(section: number): void {
    if (this.#owners[section] !== 0) return;
    const object = this.#resolved.objectOf[section] ?? 0;
    const source = this.#resolved.objects[object];
    if (!source) return;
    const flags = source.file.sections.flags[section - source.firstSection] ?? 0;
    if ((flags & SectionFlag.alloc) === 0) return;
    this.#owners[section] = this.#pieces.length;
    // What the generated tables refer to is walked piece by piece.
    if (object !== 0) this.#pending.push(section);
    const group = this.#groups.get(section);
    if (group) for (const other of group) this.#reach(other);
  }

  #drain(): void {
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) this.#follow(next);
  }

  #follow(number: number): void {
    const { objects, objectOf, homes } = this.#resolved;
    const source = objects[objectOf[number] ?? 0];
    if (!source) return;
    const { file, firstSection, firstSymbol } = source;
    const section = number - firstSection;
    if (file.sections.types[section] === SectionType.nobits) return;
    const { starts, ends, symbols, types, offsets } = file.relocations;
    const end = ends[section] ?? 0;
    const begin = file.sections.offsets[section] ?? 0;
    for (let at = starts[section] ?? 0; at < end; at++) {
      const symbol = firstSymbol + (symbols[at] ?? 0);
      const home = homes[symbol] ?? Home.missing;
      if (home === Home.missing) throw missing(source, symbol - firstSymbol);
      if (isIndirect(types[at] ?? 0)) {
        const how = relaxation(file.file, begin + (offsets[at] ?? 0), begin);
        if (home === Home.none || how === Relaxation.none)
          this.#indirect.set(placeOf(this.#resolved, symbol), symbol);
      }
      if (home > 0) this.#reach(home);
    }
  }
}

function missing({ name, file }: InputObject, symbol: number): LinkError {
  const why =
    symbol < file.symbols.firstGlobal
      ? `local symbol ${symbol}, which has no section`
      : `${file.symbolName(symbol)}, which nobody defines`;
  return new LinkError("missing-symbol", `${name} refers to ${why}`);
}
