/** What each piece added: for `spore explain`. */

import { SectionType } from "@spore/elf";
import { type Catalogue, homeOf } from "./catalogue.ts";
import type { Collected } from "./collect.ts";
import type { Resolved } from "./resolve.ts";
import type { Selection } from "./select.ts";

/** One piece and what it added to those before it. */
export interface PieceReport {
  readonly name: string;
  readonly kind: "core" | "service" | "call";
  /** Of a call: the feature, service or group that it belongs to. */
  readonly feature?: string;
  /** What in this kernel cannot work without it: names of pieces, in the order of the catalogue. */
  readonly with: readonly string[];
  /** Bytes of code and data. */
  readonly size: number;
  /** Bytes of zeros that only memory holds. */
  readonly zeros: number;
  /** What it added, largest first. */
  readonly parts: readonly { readonly name: string; readonly size: number }[];
}

/** Reports every piece, in the order in which they were collected. */
export function report(
  resolved: Resolved,
  collected: Collected,
  selection: Selection,
  catalogue: Catalogue,
): readonly PieceReport[] {
  const services = new Set(selection.services.map(({ name }) => name));
  const rows = collected.pieces.map((name, index) => ({
    name,
    kind:
      index === 0
        ? ("core" as const)
        : services.has(name) && index <= services.size
          ? ("service" as const)
          : ("call" as const),
    size: 0,
    zeros: 0,
    parts: [] as { name: string; size: number }[],
  }));
  for (const number of largestFirst(resolved, collected)) {
    const source = resolved.objects[resolved.objectOf[number] ?? 0];
    const row = rows[(collected.owners[number] ?? 0) - 1];
    if (!source || !row) continue;
    const section = number - source.firstSection;
    const size = source.file.sections.sizes[section] ?? 0;
    if (size === 0) continue;
    if (source.file.sections.types[section] === SectionType.nobits) row.zeros += size;
    else row.size += size;
    const name = source.file
      .sectionName(section)
      .replace(/^\.(text|rodata|data\.rel\.ro|data|bss)\.(unlikely\.)?/, "");
    row.parts.push({ name, size });
  }
  const present = new Set(rows.map(({ name }) => name));
  return rows.map((row) => {
    const feature = row.kind === "call" ? homeOf(catalogue, row.name) : undefined;
    const bring = row.kind === "core" ? [] : whoNeeds(catalogue, row.name, feature);
    return {
      ...row,
      ...(feature !== undefined && { feature }),
      with: bring.filter((name) => present.has(name)),
    };
  });
}

/** The calls and services that cannot do without a piece, which may belong to a feature. */
function whoNeeds({ services, features }: Catalogue, piece: string, feature: string | undefined): string[] {
  const isMeant = (need: string): boolean => need === piece || need === feature;
  return [
    ...services.filter(({ name }) => name === piece).flatMap(({ calls }) => calls),
    ...features.filter(({ name }) => name === feature).flatMap(({ calls }) => calls),
    ...features.filter(({ needs }) => needs.some(isMeant)).flatMap(({ calls }) => calls),
    ...services.filter(({ needs }) => needs.some(isMeant)).map(({ name }) => name),
  ].filter((name) => name !== piece);
}

/** The kept sections by size, and otherwise in their order: sorted as numbers, which costs nothing. */
function* largestFirst(
  { objects, objectOf, sectionCount }: Resolved,
  { sections }: Collected,
): IterableIterator<number> {
  const keys = new Float64Array(sections.length);
  for (const [index, number] of sections.entries()) {
    const source = objects[objectOf[number] ?? 0];
    const size = source?.file.sections.sizes[number - source.firstSection] ?? 0;
    keys[index] = size * sectionCount + (sectionCount - 1 - number);
  }
  keys.sort();
  for (const key of keys.reverse()) yield sectionCount - 1 - (key % sectionCount);
}
