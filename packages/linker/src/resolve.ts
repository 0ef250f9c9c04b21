/**
 * Pass 3, resolve: which objects take part, and what each of their symbols means.
 *
 * As every linker does: the generated object and the entry come first, and a member of the
 * archive takes part as soon as it defines a symbol that one that takes part lacks (a weak
 * reference does without).
 */

import { RelocatableObject, SymbolBinding, SymbolSection } from "@spore/elf";
import { LinkError } from "./error.ts";
import type { Input, InputObject } from "./parse.ts";

/** Where a symbol is defined. */
export interface Definition {
  /** Index in `Resolved.objects`. */
  readonly object: number;
  readonly section: number;
  /** Offset in the section. */
  readonly value: number;
}

/** The objects of a link and the meaning of their symbols. */
export interface Resolved {
  /** The generated object first, then members in the archive's order. */
  readonly objects: readonly InputObject[];
  readonly globals: ReadonlyMap<string, Definition>;
  /** Sections of groups whose first copy lies elsewhere, by object. */
  readonly dropped: readonly ReadonlySet<number>[];
}

/** Symbols that stand for places of the result: see layout.ts. */
export const PLACES = ["spore_text_start", "spore_text_end", "spore_image_end"] as const;

/** The symbol at which the kernel begins. */
export const ENTRY = "spore_boot";

/** Finds the objects that take part and what their global symbols mean. */
export function resolve(input: Input, generated: Uint8Array): Resolved {
  const first = { name: "generated", file: new RelocatableObject(generated) };
  const members = pullMembers(input, first);
  const objects = [first, ...members.map((member) => input.object(member))];
  const dropped = droppedGroups(objects);
  const globals = new Map<string, Definition>();
  const strong = new Set<string>();
  for (const [object, { name: file, file: source }] of objects.entries()) {
    for (let index = source.firstGlobal; index < source.symbolCount; index++) {
      const { section, value, binding } = source.symbol(index);
      if (section === SymbolSection.undefined || dropped[object]?.has(section)) continue;
      const name = source.symbolName(index);
      if (section >= SymbolSection.reserved) {
        throw new LinkError("unknown-relocation", `${file}: symbol ${name} has no section`);
      }
      const isStrong = binding !== SymbolBinding.weak;
      if (globals.has(name) && (!isStrong || strong.has(name))) {
        if (isStrong) throw new LinkError("duplicate-symbol", `${name} is defined twice, again in ${file}`);
        continue;
      }
      if (isStrong) strong.add(name);
      globals.set(name, { object, section, value });
    }
  }
  return { objects, globals, dropped };
}

/** Indices of the members that take part, ascending. */
function pullMembers(input: Input, generated: InputObject): readonly number[] {
  const pulled = new Set<number>();
  const pull = (name: string): void => {
    const member = input.archive.symbols.get(name);
    if (member !== undefined) pulled.add(member);
  };
  const pullUndefined = ({ file }: InputObject): void => {
    for (let index = file.firstGlobal; index < file.symbolCount; index++) {
      const { section, binding } = file.symbol(index);
      const lacks = section === SymbolSection.undefined && binding !== SymbolBinding.weak;
      if (lacks) pull(file.symbolName(index));
    }
  };
  pull(ENTRY);
  pullUndefined(generated);
  // A set that grows while it is walked is walked to its end.
  for (const member of pulled) pullUndefined(input.object(member));
  return [...pulled].sort((a, b) => a - b);
}

/** Of groups with the same name the first counts. */
function droppedGroups(objects: readonly InputObject[]): ReadonlySet<number>[] {
  const seen = new Set<string>();
  return objects.map(({ file }) => {
    const dropped = new Set<number>();
    for (const { signature, sections } of file.groups) {
      if (seen.has(signature)) for (const section of sections) dropped.add(section);
      seen.add(signature);
    }
    return dropped;
  });
}
