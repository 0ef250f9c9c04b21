/**
 * Writes the generated object: tables of pointers and texts, each between the symbols
 * NAME_start and NAME_end.
 */

import { SymbolBinding } from "@spore/elf";
import { ElfWriter } from "./elf-writer.ts";

/** A table of addresses. */
export interface Pointers {
  readonly name: string;
  readonly symbols: readonly string[];
}

/** A text. */
export interface Text {
  readonly name: string;
  readonly text: string;
}

const POINTER = 8;
const RELA_SIZE = 24;
const R_X86_64_64 = 1;

/** A relocatable object with these tables. */
export function writeTables(tables: readonly Pointers[], texts: readonly Text[]): Uint8Array {
  const elf = new ElfWriter();
  const imports = [...new Set(tables.flatMap(({ symbols }) => symbols))];
  const homes = [
    ...tables.map(({ name, symbols }) => ({ name, size: symbols.length * POINTER })),
    ...texts.map(({ name, text }) => ({ name, size: new TextEncoder().encode(text).length })),
  ];
  // Symbol 0 is the empty one; two of each table, then what they refer to.
  const firstImport = 1 + 2 * homes.length;
  const indices = new Map(imports.map((name, index) => [name, firstImport + index]));
  const sections = [
    ...tables.map(({ name, symbols }) =>
      elf.section({
        name: `.data.rel.ro.${name}`,
        type: 1,
        flags: 3,
        align: POINTER,
        bytes: new Uint8Array(symbols.length * POINTER),
      }),
    ),
    ...texts.map(({ name, text }) =>
      elf.section({
        name: `.rodata.${name}`,
        type: 1,
        flags: 2,
        align: 1,
        bytes: new TextEncoder().encode(text),
      }),
    ),
  ];
  const symbols = elf.symbolTable();
  for (const [index, { name, size }] of homes.entries()) {
    const section = sections[index] ?? 0;
    const binding = SymbolBinding.global;
    symbols.add({ name: `${name}_start`, value: 0, size, type: 1, binding, section });
    symbols.add({ name: `${name}_end`, value: size, size: 0, type: 0, binding, section });
  }
  for (const name of imports) {
    symbols.add({ name, value: 0, size: 0, type: 0, binding: SymbolBinding.global, section: 0 });
  }
  for (const [index, { name, symbols: entries }] of tables.entries()) {
    const bytes = new Uint8Array(entries.length * RELA_SIZE);
    const data = new DataView(bytes.buffer);
    for (const [entry, symbol] of entries.entries()) {
      data.setBigUint64(entry * RELA_SIZE, BigInt(entry * POINTER), true);
      data.setUint32(entry * RELA_SIZE + 8, R_X86_64_64, true);
      data.setUint32(entry * RELA_SIZE + 12, indices.get(symbol) ?? 0, true);
    }
    const info = sections[index] ?? 0;
    const link = symbols.index;
    elf.section({
      name: `.rela.data.rel.ro.${name}`,
      type: 4,
      flags: 0x40,
      align: 8,
      bytes,
      link,
      info,
      entrySize: RELA_SIZE,
    });
  }
  return elf.finish({ type: 1, entry: 0, segments: [] });
}
