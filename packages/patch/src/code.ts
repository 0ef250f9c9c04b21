/** The executable parts of a file, cut at function bounds, with a decoder each. */
import type { Decoder, Instruction } from "iced-x86";
import { iced } from "./iced.ts";

/** A stretch of code: a function, or what lies between two functions. */
export interface Span {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** False between functions: what lies there may be data. */
  readonly isFunction: boolean;
  /** Nothing records this function: it was found by following the code. Only what was reached is code. */
  readonly isFound?: boolean;
}

const TARGET = 1;
const BOUNDARY = 2;
const START = 4;
const REACHED = 8;
const POSSIBLE = 16;
/** Second byte of the instructions that are looked for, behind 0x0f. */
export const SYSCALL = 0x05;
const CPUID = 0xa2;

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

  /** Says that the program certainly gets to the instruction at an address. */
  markReached(address: number): void {
    this.#mark(address, REACHED);
  }

  isReached(address: number): boolean {
    return ((this.#flags[address - this.start] ?? 0) & REACHED) !== 0;
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

  /** Whether the two bytes of a `syscall` or `cpuid` stand anywhere in a span, be it as part of something else. */
  holdsSiteBytes(span: Span, ends: readonly number[] = [SYSCALL, CPUID]): boolean {
    const end = span.end - this.start - 1;
    for (let at = span.start - this.start; at >= 0 && at < end; at++) {
      at = this.#bytes.indexOf(0x0f, at);
      if (at < 0 || at >= end) return false;
      if (ends.includes(this.#bytes[at + 1] ?? 0)) return true;
    }
    return false;
  }

  /**
   * Decodes one instruction after the other in `[start, end)`. The visitor gets
   * the same object every time; it must not keep it.
   */
  visit(start: number, end: number, visitor: (instruction: Instruction, address: number) => void): void {
    this.follow(start, (instruction, address) => {
      visitor(instruction, address);
      return address + Math.max(1, instruction.length) < end;
    });
  }

  /** The same until the visitor answers false or the region ends. */
  follow(start: number, visitor: (instruction: Instruction, address: number) => boolean): void {
    const instruction = new (iced().Instruction)();
    this.#seek(start);
    for (let address = start; address < this.end; ) {
      this.#decoder.decodeOut(instruction);
      if (!visitor(instruction, address)) break;
      address += Math.max(1, instruction.length);
    }
    instruction.free();
  }

  /** The byte at an address. */
  byteAt(address: number): number | undefined {
    return this.#bytes[address - this.start];
  }

  /** Whether these bytes stand at an address. */
  holds(address: number, bytes: readonly number[]): boolean {
    return bytes.every((byte, index) => this.byteAt(address + index) === byte);
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

/** Index of the first item of an ascending list whose key is larger than `value`; its length if none is. */
export function indexAbove<T>(sorted: readonly T[], value: number, key: (item: T) => number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = sorted[middle];
    if (item !== undefined && key(item) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first number of an ascending list that is larger than `value`. */
export function firstAbove(sorted: readonly number[], value: number): number | undefined {
  return sorted[indexAbove(sorted, value, (each) => each)];
}
