/**
 * Pass 4, collect: what is reachable, and through which piece.
 *
 * The core comes first: whatever the entries reach without the generated tables. Then the
 * services and the system calls, one after another: what a piece reaches that nothing
 * before it did is what it adds.
 */

import { type ObjectRelocation, SectionFlag, SectionType, SymbolBinding, SymbolSection } from "@spore/elf";
import { LinkError } from "./error.ts";
import { isIndirect, relaxation } from "./relaxation.ts";
import { type Definition, PLACES, type Resolved } from "./resolve.ts";
import type { Selection } from "./select.ts";

/** A section that is kept. */
export interface KeptSection {
  readonly object: number;
  readonly section: number;
  /** Index of the piece that brought it, in `Collected.pieces`. */
  readonly piece: number;
}

/** What a relocation refers to: a place in a section, or one that the layout defines. */
export type Target = Definition | { readonly place: (typeof PLACES)[number] } | undefined;

/** Everything that is kept. */
export interface Collected {
  /** In the order of objects and sections. */
  readonly sections: readonly KeptSection[];
  /** "core", then the names of services and system calls. */
  readonly pieces: readonly string[];
  /** Symbols whose address some instruction reads from memory, each once. */
  readonly indirect: ReadonlyMap<string, Target>;
}

/** Sections that no table names and that must stay. */
const ALWAYS = /^\.spore\./;

/** The meaning of a symbol of an object; undefined: a weak symbol that nobody defines. */
export function targetOf(resolved: Resolved, object: number, symbol: number): Target {
  const source = resolved.objects[object];
  if (!source) throw new Error(`there is no object ${object}`);
  const { section, value, binding } = source.file.symbol(symbol);
  if (binding === SymbolBinding.local) {
    if (section !== SymbolSection.undefined && section < SymbolSection.reserved)
      return { object, section, value };
    throw new LinkError(
      "missing-symbol",
      `${source.name} refers to local symbol ${symbol}, which has no section`,
    );
  }
  const name = source.file.symbolName(symbol);
  const definition = resolved.globals.get(name);
  if (definition) return definition;
  const place = PLACES.find((each) => each === name);
  if (place) return { place };
  if (binding === SymbolBinding.weak) return undefined;
  throw new LinkError("missing-symbol", `${source.name} refers to ${name}, which nobody defines`);
}

/** Walks everything that the pieces reach. */
export function collect(resolved: Resolved, selection: Selection): Collected {
  const walk = new Walk(resolved);
  walk.root();
  const table = (name: string): Definition | undefined => resolved.globals.get(`${name}_start`);
  for (const [name, pieces] of [
    ["spore_services", selection.services],
    ["spore_calls", selection.calls],
  ] as const) {
    // Tables that the core does not refer to bring nothing in.
    const at = table(name);
    if (!at || !walk.reached(at)) continue;
    for (const { name: piece, symbol } of pieces) walk.piece(piece, symbol);
    walk.entries(at);
  }
  return walk.finish();
}

class Walk {
  readonly #resolved: Resolved;
  /** Of each section the piece that reached it, plus one; 0: none yet. */
  readonly #owners: Uint16Array[];
  readonly #groups: ReadonlyMap<number, readonly number[]>[];
  readonly #pieces: string[] = ["core"];
  readonly #pending: { object: number; section: number }[] = [];
  readonly #indirect = new Map<string, Target>();

  constructor(resolved: Resolved) {
    this.#resolved = resolved;
    this.#owners = resolved.objects.map(({ file }) => new Uint16Array(file.sections.length));
    this.#groups = resolved.objects.map(
      ({ file }) =>
        new Map(
          file.groups.flatMap(({ sections }) => sections.map((section) => [section, sections] as const)),
        ),
    );
  }

  /** The core: sections that always stay, and what they reach besides the generated tables. */
  root(): void {
    for (const [object, { file }] of this.#resolved.objects.entries()) {
      for (const [section, { name, flags }] of file.sections.entries()) {
        if ((flags & SectionFlag.alloc) !== 0 && ALWAYS.test(name)) this.#reach(object, section);
      }
    }
    this.#drain();
  }

  /** A piece, by its symbol. */
  piece(name: string, symbol: string): void {
    this.#pieces.push(name);
    const definition = this.#resolved.globals.get(symbol);
    if (!definition) throw new LinkError("missing-symbol", `${symbol} is not defined`);
    this.#reach(definition.object, definition.section);
    this.#drain();
  }

  /** What a table refers to besides the pieces: the handler of calls that are left out. */
  entries({ object, section }: Definition): void {
    this.#follow(object, section);
    this.#drain();
  }

  reached({ object, section }: Definition): boolean {
    return (this.#owners[object]?.[section] ?? 0) !== 0;
  }

  finish(): Collected {
    const sections: KeptSection[] = [];
    for (const [object, owners] of this.#owners.entries()) {
      for (const [section, owner] of owners.entries()) {
        if (owner > 0) sections.push({ object, section, piece: owner - 1 });
      }
    }
    return { sections, pieces: this.#pieces, indirect: this.#indirect };
  }

  #reach(object: number, section: number): void {
    const owners = this.#owners[object];
    const flags = this.#resolved.objects[object]?.file.sections[section]?.flags ?? 0;
    if (owners?.[section] !== 0 || (flags & SectionFlag.alloc) === 0) return;
    owners[section] = this.#pieces.length;
    // What the generated tables refer to is walked piece by piece.
    if (object !== 0) this.#pending.push({ object, section });
    for (const other of this.#groups[object]?.get(section) ?? []) this.#reach(object, other);
  }

  #drain(): void {
    for (let next = this.#pending.pop(); next; next = this.#pending.pop())
      this.#follow(next.object, next.section);
  }

  #follow(object: number, section: number): void {
    const file = this.#resolved.objects[object]?.file;
    const home = file?.sections[section];
    if (!file || !home || home.type === SectionType.nobits) return;
    let bytes: Uint8Array | undefined;
    for (const relocation of file.relocations(section)) {
      const target = targetOf(this.#resolved, object, relocation.symbol);
      if (isIndirect(relocation.type)) {
        bytes ??= file.bytes(home);
        this.#noteIndirect(object, relocation, target, bytes);
      }
      if (target && "section" in target) this.#reach(target.object, target.section);
    }
  }

  #noteIndirect(object: number, relocation: ObjectRelocation, target: Target, bytes: Uint8Array): void {
    if (target && relaxation(bytes, relocation.offset)) return;
    const name = this.#resolved.objects[object]?.file.symbolName(relocation.symbol) ?? "";
    this.#indirect.set(name, target);
  }
}
