/** Pass 7, write: the kernel as an ELF file with symbols, for debuggers and binutils. */

import {
  FileType,
  SectionType,
  SegmentFlag,
  SegmentType,
  SymbolBinding,
  SymbolSection,
  SymbolType,
} from "@spore/elf";
import { ElfWriter, type SymbolSpec } from "./elf-writer.ts";
import type { Layout } from "./layout.ts";
import { ENTRY, type Resolved } from "./resolve.ts";

/** Where the segment lies in the file: a page for the headers. */
const SEGMENT_OFFSET = 4096;
const PAGE = 4096;

/** Writes a relocated image as an ELF file. */
export function write(resolved: Resolved, layout: Layout, image: Uint8Array): Uint8Array {
  const elf = new ElfWriter();
  const base = layout.window.address;
  const indices = layout.output.map(({ name, flags, address, size, stored }) =>
    elf.section({
      name,
      type: stored ? SectionType.progbits : SectionType.nobits,
      flags,
      align: 16,
      address,
      size,
      offset: SEGMENT_OFFSET + Math.min(address - base, image.length),
      bytes: stored ? image.subarray(address - base, address - base + size) : new Uint8Array(0),
    }),
  );
  const table = elf.symbolTable();
  let entry = base;
  for (const symbol of symbolsOf(resolved, layout, indices)) {
    if (symbol.name === ENTRY) entry = symbol.value;
    table.add(symbol);
  }
  const { read, write: writable, execute } = SegmentFlag;
  const segment = {
    type: SegmentType.load,
    flags: read | writable | execute,
    offset: SEGMENT_OFFSET,
    address: base,
    fileSize: image.length,
    memorySize: layout.memoryLength,
    align: PAGE,
  };
  return elf.finish({ type: FileType.executable, entry, segments: [segment] });
}

function* symbolsOf(
  resolved: Resolved,
  layout: Layout,
  indices: readonly number[],
): IterableIterator<SymbolSpec> {
  const outputs = resolved.objects.map(({ file }) => new Uint8Array(file.sections.length));
  for (const { object, section, output } of layout.sections) {
    const row = outputs[object];
    if (row) row[section] = indices[output] ?? 0;
  }
  for (const [object, { file }] of resolved.objects.entries()) {
    for (let index = 1; index < file.symbolCount; index++) {
      const { value, size, type, binding, section } = file.symbol(index);
      const output = section < SymbolSection.reserved ? outputs[object]?.[section] : 0;
      const address = layout.addressOf(object, section);
      if (!output || address === undefined || type > SymbolType.function) continue;
      const name = file.symbolName(index);
      if (name === "" || name.startsWith(".L")) continue;
      yield { name, value: address + value, size, type, binding, section: output };
    }
  }
  const home = indices.at(-1) ?? 0;
  for (const [name, value] of Object.entries(layout.places)) {
    yield { name, value, size: 0, type: SymbolType.none, binding: SymbolBinding.global, section: home };
  }
}
