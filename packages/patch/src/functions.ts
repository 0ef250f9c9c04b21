/** Where functions begin and end: unwind records, symbols, the table of Go programs. */
import {
  type ElfFile,
  type FrameRecord,
  readGoFunctions,
  readSymbols,
  SegmentFlag,
  SymbolType,
} from "@spore/elf";
import { firstAbove, Region, type Span } from "./code.ts";
import { followCode } from "./follow.ts";
import { iced } from "./iced.ts";

/**
 * All executable segments. Functions come from unwind records, symbols and the
 * table of Go programs; what none of them names is followed from what they name.
 * `all`: of those, not only functions that may hold something to rewrite.
 */
export function readRegions(elf: ElfFile, frames: readonly FrameRecord[], all = false): Region[] {
  const symbols = [...functionSymbols(elf), ...readGoFunctions(elf)];
  const regions = elf.loads
    .filter((load) => (load.flags & SegmentFlag.execute) !== 0)
    .map((load) => {
      const bytes = elf.view.slice(load.offset, load.fileSize, "a segment");
      const region = new Region(load.vaddr, bytes);
      const records = frames.map((record) => boundsOf(record, bytes, load.vaddr));
      region.spans = adoptGaps(region, cutSpans(region.start, region.end, records, symbols));
      for (const { start } of [...records, ...symbols]) region.markStart(start);
      return region;
    });
  followCode(elf, regions, all);
  return regions;
}

/** mov rax, 15 (rt_sigreturn); syscall. Unwinders know the end of a signal handler by these bytes. */
export const SIGNAL_RETURN: readonly number[] = [0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05];

/**
 * The function of an unwind record. That of a signal return starts one byte
 * early, in the padding before it, because unwinding looks one byte before a
 * return address.
 */
function boundsOf(record: FrameRecord, bytes: Uint8Array, base: number): Bounds {
  const { start, end, common } = record;
  const at = start + 1 - base;
  const early =
    common.augmentation.includes("S") && SIGNAL_RETURN.every((byte, index) => bytes[at + index] === byte);
  return { start: early ? start + 1 : start, end };
}

/** A function by its symbol; `end` equals `start` where the size is not known. */
interface Bounds {
  readonly start: number;
  readonly end: number;
}

function functionSymbols(elf: ElfFile): Bounds[] {
  const found: Bounds[] = [];
  const symbols = readSymbols(elf);
  for (let index = 1; index < (symbols?.count ?? 0); index++) {
    const symbol = symbols?.bounds(index);
    if (!symbol || symbol.section === 0) continue;
    if (symbol.type === SymbolType.function || symbol.type === SymbolType.ifunc) {
      found.push({ start: symbol.address, end: symbol.address + symbol.size });
    }
  }
  return found.sort((a, b) => a.start - b.start || b.end - a.end);
}

/**
 * Functions by their unwind records and symbols, joined where they overlap: a
 * hand-written function may have records for parts of itself only. A symbol
 * without a size reaches to the next function.
 */
function cutSpans(
  start: number,
  end: number,
  records: readonly Bounds[],
  symbols: readonly Bounds[],
): Span[] {
  const inside = (each: Bounds): boolean => each.start >= start && each.start < end;
  const sized = [...records, ...symbols.filter((each) => each.end > each.start)].filter(inside);
  const joined = joinOverlapping(sized);
  const starts = [...joined, ...symbols].map((each) => each.start).sort((a, b) => a - b);
  const sizeless = symbols
    .filter((each) => each.end === each.start && inside(each))
    .map((each) => ({ start: each.start, end: firstAbove(starts, each.start) ?? end }));
  const spans: Span[] = [];
  let at = start;
  for (const bounds of joinOverlapping([...joined, ...sizeless])) {
    if (bounds.start > at) spans.push({ start: at, end: bounds.start, isFunction: false });
    at = Math.min(bounds.end, end);
    spans.push({ start: bounds.start, end: at, isFunction: true });
  }
  if (at < end) spans.push({ start: at, end, isFunction: false });
  return spans;
}

function joinOverlapping(list: readonly Bounds[]): Bounds[] {
  const joined: Bounds[] = [];
  for (const { start, end } of [...list].sort((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    if (last && start < last.end)
      joined[joined.length - 1] = { start: last.start, end: Math.max(end, last.end) };
    else if (end > start) joined.push({ start, end });
  }
  return joined;
}

/**
 * Hands a gap to the function before it if that one runs on into it, as clone()
 * does in C libraries: its unwind record ends where the child has no caller.
 */
function adoptGaps(region: Region, spans: readonly Span[]): Span[] {
  const adopted: Span[] = [];
  for (const span of spans) {
    const previous = adopted.at(-1);
    const worthwhile = !span.isFunction && previous?.isFunction && region.holdsSiteBytes(span);
    if (previous && worthwhile && fallsThrough(region, previous)) {
      adopted[adopted.length - 1] = { start: previous.start, end: span.end, isFunction: true };
    } else {
      adopted.push(span);
    }
  }
  return adopted;
}

/** Whether a function's last instruction goes on to the next one. */
function fallsThrough(region: Region, span: Span): boolean {
  const { Code, FlowControl } = iced();
  let through = false;
  region.visit(span.start, span.end, ({ code, flowControl }) => {
    const goesOn = flowControl === FlowControl.Next || flowControl === FlowControl.ConditionalBranch;
    through = goesOn && code !== Code.INVALID;
  });
  return through;
}
