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
  for (const { file, firstSection } of resolved.objects) {
    const { count, sections, types, bindings, values, sizes } = file.symbols;
    for (let index = 1; index < count; index++) {
      const section = sections[index] ?? 0;
      const type = types[index] ?? 0;
      if (section >= SymbolSection.reserved || type > SymbolType.function) continue;
      const address = layout.addresses[firstSection + section] ?? 0;
      if (address === 0) continue;
      const name = file.symbolName(index);
      if (name === "" || name.startsWith(".L")) continue;
      yield {
        name,
        value: address + (values[index] ?? 0),
        size: sizes[index] ?? 0,
        type,
        binding: bindings[index] ?? 0,
        section: indices[layout.outputs[firstSection + section] ?? 0] ?? 0,
      };
    }
  }
  const home = indices.at(-1) ?? 0;
  for (const [name, value] of Object.entries(layout.places)) {
    yield { name, value, size: 0, type: SymbolType.none, binding: SymbolBinding.global, section: home };
  }
}
