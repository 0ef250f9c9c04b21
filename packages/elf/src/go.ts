/**
 * Functions of Go programs: Go writes no unwind records of the usual kind, but a
 * table of its own (.gopclntab), which `strip` leaves alone. Format: the Go
 * source, internal/abi/symtab.go and debug/gosym.
 */
import { type ElfFile, FileType } from "./file.ts";
import { readSections, SectionFlag, SectionType } from "./sections.ts";

/** A function by its bounds; `end` is where the next one starts. */
export interface GoFunction {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

const TABLE = /^(\.data\.rel\.ro)?\.gopclntab$/;
/** Go 1.18 and 1.20: entries of 32 bits, counted from the start of the text. */
const NARROW: ReadonlySet<number> = new Set([0xfffffff0, 0xfffffff1]);
const HEADER_SIZE = 72;

/**
 * The functions of a Go program in order; empty for other files, for tables of
 * Go before 1.18, and where the table does not fit the program.
 */
export function readGoFunctions(elf: ElfFile): GoFunction[] {
  if (elf.header.type === FileType.relocatable) return [];
  const sections = readSections(elf);
  const table = sections.find((each) => TABLE.test(each.name) && each.type !== SectionType.nobits);
  const text = sections.find((each) => each.name === ".text" && (each.flags & SectionFlag.execute) !== 0);
  if (!table || !text || table.size < HEADER_SIZE) return [];
  const { view } = elf;
  const at = table.offset;
  const known = NARROW.has(view.u32(at)) && view.u16(at + 4) === 0 && view.u8(at + 6) === 1;
  if (!known || view.u8(at + 7) !== 8) return [];
  const count = view.u64OrUndefined(at + 8) ?? 0;
  const entries = view.u64OrUndefined(at + 64) ?? 0;
  const room = Math.floor((table.size - entries) / 8);
  if (entries < HEADER_SIZE || count > room) return [];
  // Newer tables leave the start to whoever reads them.
  const start = view.u64OrUndefined(at + 24) || text.address;
  const functions: GoFunction[] = [];
  for (let index = 0; index < count; index++) {
    const entry = at + entries + index * 8;
    const bounds = { start: start + view.u32(entry), end: start + view.u32(entry + 8) };
    if (bounds.end <= bounds.start || bounds.end > text.address + text.size) return [];
    functions.push(bounds);
  }
  // The table is right about the start of the text if it names the function that runs first.
  return functions.some((each) => each.start === elf.header.entry) ? functions : [];
}
