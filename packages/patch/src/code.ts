/** The executable parts of a file, cut at function bounds, with a decoder each. */
import { type ElfFile, type FrameRecord, readSymbols, SegmentFlag, SymbolType } from "@spore/elf";
import type { Decoder, Instruction } from "iced-x86";
import { iced } from "./iced.ts";

/** A stretch of code: a function, or what lies between two functions. */
export interface Span {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** False between functions: what lies there may be data. */
  readonly isFunction: boolean;
}

const TARGET = 1;
const BOUNDARY = 2;
const START = 4;
const POSSIBLE = 16;

/** One executable segment. */
export class Region {
  readonly start: number;
  readonly end: number;
  spans: readonly Span[] = [];
  readonly #bytes: Uint8Array;
  readonly #decoder: Decoder;
  /** For every address: may something jump there, does an instruction start there. */
  readonly #flags: Uint8Array;

  constructor(start: number, bytes: Uint8Array) {
    this.start = start;
    this.end = start + bytes.length;
    this.#bytes = bytes;
    const { Decoder, DecoderOptions } = iced();
    this.#decoder = new Decoder(64, bytes, DecoderOptions.None);
    this.#flags = new Uint8Array(bytes.length);
  }

  contains(address: number): boolean {
    return address >= this.start && address < this.end;
  }

  markTarget(address: number): void {
    this.#mark(address, TARGET);
  }

  isTarget(address: number): boolean {
    return ((this.#flags[address - this.start] ?? 0) & TARGET) !== 0;
  }

  /** Says that a computed jump may lead here. */
  markPossible(address: number): void {
    this.#mark(address, POSSIBLE | TARGET);
  }

  /** Whether anything but a direct branch may lead here. */
  isPossible(address: number): boolean {
    return ((this.#flags[address - this.start] ?? 0) & POSSIBLE) !== 0;
  }

  markBoundary(address: number): void {
    this.#mark(address, BOUNDARY);
  }

  isBoundary(address: number): boolean {
    return ((this.#flags[address - this.start] ?? 0) & BOUNDARY) !== 0;
  }

  /** Says that a function starts here, so that an instruction must. */
  markStart(address: number): void {
    this.#mark(address, START | TARGET);
  }

  /** Whether decoding `[start, end)` met every function start in it. */
  isInStep(start: number, end: number): boolean {
    const flags = this.#flags.subarray(start - this.start, end - this.start);
    return flags.every((each) => (each & (START | BOUNDARY)) !== START);
  }

  #mark(address: number, flag: number): void {
    const at = address - this.start;
    if (this.contains(address)) this.#flags[at] = (this.#flags[at] ?? 0) | flag;
  }

  /** Whether the two bytes of a `syscall` stand anywhere in a span, be it as part of something else. */
  holdsSyscallBytes(span: Span): boolean {
    const end = span.end - this.start - 1;
    for (let at = span.start - this.start; at >= 0 && at < end; at++) {
      at = this.#bytes.indexOf(0x0f, at);
      if (at < 0 || at >= end) return false;
      if (this.#bytes[at + 1] === 0x05) return true;
    }
    return false;
  }

  /**
   * Decodes one instruction after the other in `[start, end)`. The visitor gets
   * the same object every time; it must not keep it.
   */
  visit(start: number, end: number, visitor: (instruction: Instruction, address: number) => void): void {
    const instruction = new (iced().Instruction)();
    this.#seek(start);
    for (let address = start; address < end; ) {
      this.#decoder.decodeOut(instruction);
      visitor(instruction, address);
      address += Math.max(1, instruction.length);
    }
    instruction.free();
  }

  /** Decodes the instruction at an address; the caller frees it. */
  decode(address: number): Instruction {
    this.#seek(address);
    return this.#decoder.decode();
  }

  #seek(address: number): void {
    this.#decoder.position = address - this.start;
    this.#decoder.ip = BigInt(address);
  }

  free(): void {
    this.#decoder.free();
  }
}

/** All executable segments; functions come from unwind records and symbols. */
export function readRegions(elf: ElfFile, frames: readonly FrameRecord[]): Region[] {
  const symbols = functionSymbols(elf);
  return elf.loads
    .filter((load) => (load.flags & SegmentFlag.execute) !== 0)
    .map((load) => {
      const bytes = elf.view.slice(load.offset, load.fileSize, "a segment");
      const region = new Region(load.vaddr, bytes);
      const records = frames.map((record) => boundsOf(record, bytes, load.vaddr));
      region.spans = adoptGaps(region, cutSpans(region.start, region.end, records, symbols));
      for (const { start } of [...records, ...symbols]) region.markStart(start);
      return region;
    });
}

/** mov rax, 15 (rt_sigreturn); syscall */
const SIGNAL_RETURN: readonly number[] = [0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05];

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

/** The first number of an ascending list that is larger than `value`. */
export function firstAbove(sorted: readonly number[], value: number): number | undefined {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0) <= value) low = middle + 1;
    else high = middle;
  }
  return sorted[low];
}

/**
 * Hands a gap to the function before it if that one runs on into it, as clone()
 * does in C libraries: its unwind record ends where the child has no caller.
 */
function adoptGaps(region: Region, spans: readonly Span[]): Span[] {
  const adopted: Span[] = [];
  for (const span of spans) {
    const previous = adopted.at(-1);
    const worthwhile = !span.isFunction && previous?.isFunction && region.holdsSyscallBytes(span);
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
