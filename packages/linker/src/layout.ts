/**
 * Pass 5, layout: where everything stands. The same order as in docs/internals/memory-map.md:
 * header page, code, then the gate's page, which constants fill up, the vDSO's page, data, zeros.
 */

import { type RelocatableObject, SectionFlag, SectionType } from "@spore/elf";
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

/** A section of the result. */
interface OutputRule {
  readonly name: string;
  readonly flags: number;
  readonly align: number;
  readonly stored?: false;
}

/** The sections of the result, in order. */
const OUTPUT: readonly OutputRule[] = [
  { name: ".header", flags: alloc | execute, align: PAGE },
  { name: ".entry", flags: alloc | execute, align: 64 },
  { name: ".text", flags: alloc | execute, align: 16 },
  { name: ".gate", flags: alloc | execute, align: PAGE },
  { name: ".rodata", flags: alloc, align: 64 },
  { name: ".vdso", flags: alloc | execute, align: PAGE },
  { name: ".data", flags: alloc | write, align: 64 },
  { name: ".bss", flags: alloc | write, align: 64, stored: false },
];
/** By the names of sections that go to a section of the result of their own. */
const NAMED: ReadonlyMap<string, string> = new Map([
  [".spore.header", ".header"],
  [".spore.entry", ".entry"],
  [".spore.gate", ".gate"],
  [".spore.vdso", ".vdso"],
]);
const [TEXT, RODATA, DATA, BSS] = [".text", ".rodata", ".data", ".bss"].map((name) =>
  OUTPUT.findIndex((rule) => rule.name === name),
);

/** Index in OUTPUT of the section that takes one. */
function outputOf(file: RelocatableObject, section: number): number {
  const flags = file.sections.flags[section] ?? 0;
  if (file.sectionNameBegins(section, OWN)) {
    const home = NAMED.get(file.sectionName(section));
    if (home !== undefined) return OUTPUT.findIndex(({ name }) => name === home);
  } else if ((flags & execute) !== 0) return TEXT ?? 0;
  if ((flags & write) === 0) return RODATA ?? 0;
  return (file.sections.types[section] === SectionType.nobits ? BSS : DATA) ?? 0;
}

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
    const index = outputOf(source.file, section);
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
