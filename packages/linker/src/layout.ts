/**
 * Pass 5, layout: where everything stands. The same order as in docs/internals/memory-map.md:
 * header page, code, then the gate's page, which constants fill up, the vDSO's page, data, zeros.
 */

import { type Section, SectionFlag, SectionType } from "@spore/elf";
import type { Collected, KeptSection } from "./collect.ts";
import { LinkError } from "./error.ts";
import type { PLACES, Resolved } from "./resolve.ts";

/** Where a kernel is to stand. */
export interface Window {
  /** Address of the header page. */
  readonly address: number;
  /** Bytes that it may fill. */
  readonly length: number;
}

/** A section of the result. */
export interface OutputSection {
  readonly name: string;
  readonly flags: number;
  readonly address: number;
  readonly size: number;
  /** False: zeros that are not stored. */
  readonly stored: boolean;
}

/** A kept section and its address. */
export interface PlacedSection extends KeptSection {
  readonly address: number;
  /** Index in `Layout.output`. */
  readonly output: number;
}

/** Addresses of everything. */
export interface Layout {
  readonly window: Window;
  readonly output: readonly OutputSection[];
  readonly sections: readonly PlacedSection[];
  /** Address of a section; undefined if it is not kept. */
  readonly addressOf: (object: number, section: number) => number | undefined;
  readonly places: Readonly<Record<(typeof PLACES)[number], number>>;
  /** Addresses of the entries of the table of addresses, by symbol. */
  readonly indirect: ReadonlyMap<string, number>;
  /** Bytes that are stored, and bytes of memory, both from the window's address on. */
  readonly storedLength: number;
  readonly memoryLength: number;
}

const PAGE = 4096;
const POINTER = 8;
const { write, alloc, execute } = SectionFlag;

/** The sections of the result, in order, and what goes into each. */
const OUTPUT: readonly {
  readonly name: string;
  readonly flags: number;
  readonly align: number;
  readonly stored?: false;
  readonly takes: (section: Section) => boolean;
}[] = [
  { name: ".header", flags: alloc | execute, align: PAGE, takes: ({ name }) => name === ".spore.header" },
  { name: ".entry", flags: alloc | execute, align: 64, takes: ({ name }) => name === ".spore.entry" },
  {
    name: ".text",
    flags: alloc | execute,
    align: 16,
    takes: ({ name, flags }) => (flags & execute) !== 0 && !name.startsWith(".spore."),
  },
  { name: ".gate", flags: alloc | execute, align: PAGE, takes: ({ name }) => name === ".spore.gate" },
  {
    name: ".rodata",
    flags: alloc,
    align: 64,
    takes: ({ name, flags }) => (flags & write) === 0 && name !== ".spore.vdso",
  },
  { name: ".vdso", flags: alloc | execute, align: PAGE, takes: ({ name }) => name === ".spore.vdso" },
  { name: ".data", flags: alloc | write, align: 64, takes: ({ type }) => type !== SectionType.nobits },
  { name: ".bss", flags: alloc | write, align: 64, stored: false, takes: () => true },
];
const TEXT_FIRST = ".entry";
const TEXT_LAST = ".text";
const ADDRESSES = ".data";

/** Places everything that is kept. */
export function layout(resolved: Resolved, collected: Collected, window: Window): Layout {
  const groups: KeptSection[][] = OUTPUT.map(() => []);
  const sectionOf = ({ object, section }: KeptSection): Section => {
    const found = resolved.objects[object]?.file.sections[section];
    if (!found) throw new Error(`object ${object} has no section ${section}`);
    return found;
  };
  for (const kept of collected.sections) {
    const source = sectionOf(kept);
    groups[OUTPUT.findIndex(({ takes }) => takes(source))]?.push(kept);
  }
  const addresses = resolved.objects.map(({ file }) => new Float64Array(file.sections.length));
  const sections: PlacedSection[] = [];
  const output: OutputSection[] = [];
  const indirect = new Map<string, number>();
  let at = window.address;
  for (const [index, { name, flags, align, stored = true }] of OUTPUT.entries()) {
    at = alignUp(at, align);
    const address = at;
    for (const kept of groups[index] ?? []) {
      const source = sectionOf(kept);
      at = alignUp(at, checkedAlign(source));
      sections.push({ ...kept, address: at, output: index });
      const row = addresses[kept.object];
      if (row) row[kept.section] = at;
      at += source.size;
    }
    if (name === ADDRESSES) {
      at = alignUp(at, POINTER);
      for (const symbol of collected.indirect.keys()) {
        indirect.set(symbol, at);
        at += POINTER;
      }
    }
    output.push({ name, flags, address, size: at - address, stored });
  }
  const end = alignUp(at, PAGE);
  if (end - window.address > window.length) {
    throw new LinkError("too-large", `the kernel takes ${end - window.address} bytes of ${window.length}`);
  }
  const bounds = (name: string): OutputSection => {
    const found = output.find((each) => each.name === name);
    if (!found) throw new Error(`there is no section ${name}`);
    return found;
  };
  const last = bounds(TEXT_LAST);
  const data = bounds(ADDRESSES);
  return {
    window,
    output,
    sections,
    addressOf: (object, section) => addresses[object]?.[section] || undefined,
    places: {
      spore_text_start: bounds(TEXT_FIRST).address,
      spore_text_end: last.address + last.size,
      spore_image_end: end,
    },
    indirect,
    storedLength: data.address + data.size - window.address,
    memoryLength: end - window.address,
  };
}

function checkedAlign({ name, align }: Section): number {
  if (align <= 1) return 1;
  if (align > PAGE || !Number.isInteger(Math.log2(align))) {
    throw new LinkError("too-large", `section ${name} wants to be aligned to ${align} bytes`);
  }
  return align;
}

function alignUp(value: number, unit: number): number {
  const rest = value % unit;
  return rest === 0 ? value : value + unit - rest;
}
