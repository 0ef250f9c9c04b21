/** Exception tables (.gcc_except_table): where unwinding may enter a function. */
import { bad, Cursor, OMIT } from "./cursor.ts";
import type { ElfFile } from "./file.ts";
import type { FrameRecord } from "./frames.ts";

/** Addresses of a function's landing pads, in table order; empty without an exception table. */
export function readLandingPads(elf: ElfFile, record: FrameRecord): number[] {
  if (record.data === undefined) return [];
  const cursor = new Cursor(elf, record.data);
  const base = cursor.pointer(cursor.u8(), 0) ?? record.start;
  if (cursor.u8() !== OMIT) cursor.uleb();
  const encoding = cursor.u8();
  const size = cursor.uleb();
  const end = cursor.at + size;
  if (end > cursor.end) throw bad("has a cut exception table");
  const pads: number[] = [];
  while (cursor.at < end) {
    cursor.size(encoding);
    cursor.size(encoding);
    const pad = cursor.size(encoding);
    cursor.uleb();
    if (pad !== 0) pads.push(base + pad);
  }
  return pads;
}
