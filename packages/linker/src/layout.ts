/**
 * Pass 5, layout: where everything stands. The same order as in docs/internals/memory-map.md:
 * header page, code, then the gate's page, which constants fill up, the vDSO's page, data, zeros.
 */

import { SectionFlag, SectionType } from "@spore/elf";
import type { Collected } from "./collect.ts";
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

/** Addresses of everything. */
export interface Layout {
  readonly window: Window;
  readonly output: readonly OutputSection[];
  /** By section: its address, 0 if it is not kept; and its place in `output`. */
  readonly addresses: Float64Array;
  readonly outputs: Uint8Array;
  readonly places: Readonly<Record<(typeof PLACES)[number], number>>;
  /** Addresses of the entries of the table of addresses, by what they are the address of. */
  readonly indirect: ReadonlyMap<string, number>;
  /** Bytes that are stored, and bytes of memory, both from the window's address on. */
  readonly storedLength: number;
  readonly memoryLength: number;
}

const PAGE = 4096;
const POINTER = 8;
const { write, alloc, execute } = SectionFlag;

/** Sections whose place is said by their names. */
const OWN = ".spore.";

/** A section of the result, and what goes into it; `name` is "" unless it begins as OWN does. */
interface OutputRule {
  readonly name: string;
  readonly flags: number;
  readonly align: number;
  readonly stored?: false;
  readonly takes: (name: string, flags: number, type: number) => boolean;
}

/** The sections of the result, in order. */
const OUTPUT: readonly OutputRule[] = [
  { name: ".header", flags: alloc | execute, align: PAGE, takes: (name) => name === ".spore.header" },
  { name: ".entry", flags: alloc | execute, align: 64, takes: (name) => name === ".spore.entry" },
  {
    name: ".text",
    flags: alloc | execute,
    align: 16,
    takes: (name, flags) => (flags & execute) !== 0 && name === "",
  },
  { name: ".gate", flags: alloc | execute, align: PAGE, takes: (name) => name === ".spore.gate" },
  {
    name: ".rodata",
    flags: alloc,
    align: 64,
    takes: (name, flags) => (flags & write) === 0 && name !== ".spore.vdso",
  },
  { name: ".vdso", flags: alloc | execute, align: PAGE, takes: (name) => name === ".spore.vdso" },
  {
    name: ".data",
    flags: alloc | write,
    align: 64,
    takes: (_name, _flags, type) => type !== SectionType.nobits,
  },
  { name: ".bss", flags: alloc | write, align: 64, stored: false, takes: () => true },
];
const TEXT_FIRST = ".entry";
const TEXT_LAST = ".text";
const ADDRESSES = ".data";

/** Places everything that is kept. */
export function layout(resolved: Resolved, collected: Collected, window: Window): Layout {
  const { objects, objectOf, sectionCount } = resolved;
  const outputs = new Uint8Array(sectionCount);
  const groups = sorted(resolved, collected, outputs);
  const addresses = new Float64Array(sectionCount);
  const output: OutputSection[] = [];
  const indirect = new Map<string, number>();
  let at = window.address;
  for (const [index, { name, flags, align, stored = true }] of OUTPUT.entries()) {
    at = alignUp(at, align);
    const address = at;
    for (const number of groups[index] ?? []) {
      const source = objects[objectOf[number] ?? 0];
      if (!source) continue;
      const section = number - source.firstSection;
      const unit = source.file.sections.aligns[section] ?? 1;
      if (!isAlignment(unit)) {
        const what = source.file.sectionName(section);
        throw new LinkError("too-large", `section ${what} wants to be aligned to ${unit} bytes`);
      }
      at = alignUp(at, Math.max(unit, 1));
      addresses[number] = at;
      at += source.file.sections.sizes[section] ?? 0;
    }
    if (name === ADDRESSES) {
      at = alignUp(at, POINTER);
      for (const place of collected.indirect.keys()) {
        indirect.set(place, at);
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
    addresses,
    outputs,
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

/** The kept sections by the section of the result that they go to, which `outputs` notes as well. */
function sorted(
  { objects, objectOf }: Resolved,
  { sections }: Collected,
  outputs: Uint8Array,
): readonly (readonly number[])[] {
  const groups: number[][] = OUTPUT.map(() => []);
  for (const number of sections) {
    const source = objects[objectOf[number] ?? 0];
    if (!source) continue;
    const section = number - source.firstSection;
    const { flags, types } = source.file.sections;
    // The other names say nothing of the place.
    const name = source.file.sectionNameBegins(section, OWN) ? source.file.sectionName(section) : "";
    const index = OUTPUT.findIndex(({ takes }) => takes(name, flags[section] ?? 0, types[section] ?? 0));
    outputs[number] = index;
    groups[index]?.push(number);
  }
  return groups;
}

function isAlignment(align: number): boolean {
  return align <= PAGE && (align & (align - 1)) === 0;
}

function alignUp(value: number, unit: number): number {
  const rest = value % unit;
  return rest === 0 ? value : value + unit - rest;
}
