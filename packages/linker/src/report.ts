/** What each piece added: for `spore explain`. */

import { SectionType } from "@spore/elf";
import type { Catalogue } from "./catalogue.ts";
import type { Collected } from "./collect.ts";
import type { Resolved } from "./resolve.ts";
import type { Selection } from "./select.ts";

/** One piece and what it added to those before it. */
export interface PieceReport {
  readonly name: string;
  readonly kind: "core" | "service" | "call";
  /** Of a call: the feature that it belongs to. */
  readonly feature?: string;
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
  { features }: Catalogue,
): readonly PieceReport[] {
  const featureOf = (call: string): string | undefined =>
    features.find(({ calls }) => calls.includes(call))?.name;
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
  for (const { object, section, piece } of collected.sections) {
    const source = resolved.objects[object]?.file.sections[section];
    const row = rows[piece];
    if (!source || !row || source.size === 0) continue;
    if (source.type === SectionType.nobits) row.zeros += source.size;
    else row.size += source.size;
    row.parts.push({
      name: source.name.replace(/^\.(text|rodata|data\.rel\.ro|data|bss)\.(unlikely\.)?/, ""),
      size: source.size,
    });
  }
  for (const { parts } of rows) parts.sort((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1));
  return rows.map((row) => {
    const feature = row.kind === "call" ? featureOf(row.name) : undefined;
    return { ...row, ...(feature !== undefined && { feature }) };
  });
}
