/** Notes: the build id. */
import { ElfError } from "./error.ts";
import { type ElfFile, SegmentType } from "./file.ts";

const BUILD_ID = 3;

/** The GNU build id as lower-case hex, or undefined if the file has none. */
export function buildId(elf: ElfFile): string | undefined {
  const { view } = elf;
  for (const segment of elf.segments) {
    if (segment.type !== SegmentType.note) continue;
    const step = segment.align === 8 ? 8 : 4;
    const end = segment.offset + segment.fileSize;
    let at = segment.offset;
    while (at + 12 <= end) {
      const nameSize = view.u32(at);
      const size = view.u32(at + 4);
      const dataAt = roundUp(at + 12 + nameSize, step, segment.offset);
      if (dataAt + size > end) throw new ElfError("bad-note", "a note is cut off");
      const gnu = nameSize === 4 && view.u32(at + 12) === 0x00554e47;
      if (gnu && view.u32(at + 8) === BUILD_ID) {
        const bytes = view.slice(dataAt, size, "the build id");
        return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
      }
      at = roundUp(dataAt + size, step, segment.offset);
    }
  }
  return undefined;
}

function roundUp(offset: number, step: number, base: number): number {
  return base + Math.ceil((offset - base) / step) * step;
}
