/**
 * Functions that nothing records, as in C libraries built without unwind
 * records and in stripped programs: found by following the code, from where it
 * certainly begins, along calls and jumps. What is reached that way is code;
 * the bytes in between may be anything.
 */
import { type ElfFile, readSections, SectionFlag, SegmentFlag } from "@spore/elf";
import type { Instruction } from "iced-x86";
import { indexAbove, type Region, type Span, SYSCALL } from "./code.ts";
import { iced } from "./iced.ts";

/** An instruction was met here. */
const MET = 1;
/** An instruction that was met goes on here. */
const INSIDE = 2;
/** Two ways to read these bytes were met, or one that cannot be. */
const UNSOUND = 4;

/** Replaces spans of the regions: gaps in which functions were found become those functions. */
export function followCode(elf: ElfFile, regions: readonly Region[], all: boolean): void {
  const gaps = regions.flatMap((region) => gapsOf(elf, region));
  // Following costs as much as decoding everything: only where there may be a system call to find.
  if (!gaps.some(({ region, span }) => region.holdsSiteBytes(span, [SYSCALL]))) return;
  const follower = new Follower(elf, gaps, all);
  for (const region of regions) {
    for (const span of region.spans) if (span.isFunction) follower.start(region, span);
  }
  follower.run();
  for (const region of regions) region.spans = region.spans.flatMap((span) => follower.cut(region, span));
}

/** Bytes between functions that the file itself calls code. */
interface Gap {
  readonly region: Region;
  readonly span: Span;
  /** What was met, by offset. */
  readonly seen: Uint8Array;
}

function gapsOf(elf: ElfFile, region: Region): Gap[] {
  const code = readSections(elf).filter(({ flags }) => (flags & SectionFlag.execute) !== 0);
  const inCode = ({ start, end }: Span): boolean =>
    code.some(({ address, size }) => start < address + size && end > address);
  return region.spans
    .filter((span) => !span.isFunction && inCode(span))
    .map((span) => ({ region, span, seen: new Uint8Array(span.end - span.start) }));
}

class Follower {
  readonly #elf: ElfFile;
  readonly #gaps: readonly Gap[];
  readonly #all: boolean;
  /** Addresses that code calls or jumps to. */
  readonly #certain = new Set<number>();
  /** Addresses that code or data names: functions, or data among the code. */
  readonly #named = new Set<number>();
  readonly #queue: number[] = [];
  /** Every branch that was met, if all functions are looked for. */
  readonly #branches: { readonly from: number; readonly to: number }[] = [];
  /** All of `certain` in order, once nothing more is found. */
  #starts: readonly number[] | undefined;

  constructor(elf: ElfFile, gaps: readonly Gap[], all: boolean) {
    this.#elf = elf;
    this.#all = all;
    this.#gaps = [...gaps].sort((a, b) => a.span.start - b.span.start);
    this.#call(elf.header.entry);
    this.#nameWords();
  }

  #gapOf(address: number): Gap | undefined {
    const gap = this.#gaps[indexAbove(this.#gaps, address, ({ span }) => span.start) - 1];
    return gap && address < gap.span.end ? gap : undefined;
  }

  #call(address: number): void {
    if (this.#certain.has(address) || !this.#gapOf(address)) return;
    this.#certain.add(address);
    this.#queue.push(address);
  }

  #name(address: number): void {
    if (this.#gapOf(address)) this.#named.add(address);
  }

  /** Pointers in data; the addends of relocations lie in these segments too. */
  #nameWords(): void {
    const { view } = this.#elf;
    for (const load of this.#elf.loads) {
      if ((load.flags & SegmentFlag.execute) !== 0) continue;
      const first = load.offset + ((8 - (load.vaddr % 8)) % 8);
      for (let at = first; at + 8 <= load.offset + load.fileSize; at += 8) {
        const value = view.u64OrUndefined(at);
        if (value !== undefined) this.#name(value);
      }
    }
  }

  /** Follows what a recorded function leads to, if all of it can be read. */
  start(region: Region, span: Span): void {
    const { Code } = iced();
    const found: (() => void)[] = [];
    let readable = true;
    region.visit(span.start, span.end, (instruction) => {
      readable &&= instruction.code !== Code.INVALID;
      const target = branchTarget(instruction);
      if (target !== undefined) found.push(() => this.#call(target));
      const address = namedAddress(instruction);
      if (address !== undefined) found.push(() => this.#name(address));
    });
    if (readable) for (const each of found) each();
  }

  /** Follows everything to its end: what is called first, then what is only named. */
  run(): void {
    for (let address = this.#next(); address !== undefined; address = this.#next()) {
      const gap = this.#gapOf(address);
      if (gap) this.#follow(gap, address);
    }
    while (this.#findLastCalls());
  }

  /** A jump into another function, where one seems to begin, is a last call; answers whether there was any. */
  #findLastCalls(): boolean {
    const starts = [...this.#certain].sort((a, b) => a - b);
    const functionOf = (address: number): number => indexAbove(starts, address, (each) => each);
    const found = this.#branches.filter(({ from, to }) => {
      const gap = this.#gapOf(to);
      const isElsewhere = functionOf(from) !== functionOf(to) && !this.#certain.has(to);
      return gap && isElsewhere && to % 16 === 0 && beginsFunction(gap.region, to);
    });
    for (const { to } of found) this.#certain.add(to);
    return found.length > 0;
  }

  #next(): number | undefined {
    const called = this.#queue.pop();
    if (called !== undefined) return called;
    for (const address of this.#named) {
      this.#named.delete(address);
      const gap = this.#gapOf(address);
      if (gap && gap.seen[address - gap.span.start] === 0 && beginsFunction(gap.region, address)) {
        this.#certain.add(address);
        return address;
      }
    }
    return undefined;
  }

  #follow(gap: Gap, start: number): void {
    const { region, span, seen } = gap;
    const accumulator = new Accumulator();
    region.follow(start, (instruction, address) => {
      const at = address - span.start;
      const end = at + instruction.length;
      if (address >= span.end || seen[at] === MET) return false;
      const isSound = instruction.code !== iced().Code.INVALID && end <= seen.length;
      if (!isSound || seen.subarray(at, end).some((each) => each !== 0)) {
        seen[at] = UNSOUND;
        return false;
      }
      seen.fill(INSIDE, at, end);
      seen[at] = MET;
      region.markReached(address);
      const named = namedAddress(instruction);
      if (named !== undefined) this.#name(named);
      return !accumulator.endsProgram(instruction) && this.#goesOn(gap, instruction, address);
    });
  }

  /** Notes where an instruction leads besides the next one; answers whether it leads there too. */
  #goesOn(gap: Gap, instruction: Instruction, from: number): boolean {
    const { FlowControl } = iced();
    const target = branchTarget(instruction);
    if (this.#all && target !== undefined) this.#branches.push({ from, to: target });
    switch (instruction.flowControl) {
      case FlowControl.Call:
        if (target !== undefined) this.#call(target);
        return true;
      case FlowControl.ConditionalBranch:
      case FlowControl.XbeginXabortXend:
        if (target !== undefined) this.#jump(gap, target);
        return true;
      case FlowControl.UnconditionalBranch:
        if (target !== undefined) this.#jump(gap, target);
        return false;
      case FlowControl.Next:
      case FlowControl.IndirectCall:
        return true;
      default:
        return false;
    }
  }

  /** A jump stays in its function, mostly; elsewhere it is as good as a call. */
  #jump(gap: Gap, target: number): void {
    const { start, end } = gap.span;
    if (target >= start && target < end) this.#queue.push(target);
    else this.#call(target);
  }

  /** A gap as the functions in it and what is left; any other span as it is. */
  cut(region: Region, span: Span): Span[] {
    const gap = this.#gapOf(span.start);
    if (gap?.span !== span) return [span];
    this.#starts ??= [...this.#certain].sort((a, b) => a - b);
    const from = indexAbove(this.#starts, span.start - 1, (each) => each);
    const to = indexAbove(this.#starts, span.end - 1, (each) => each);
    const cuts = [span.start, ...this.#starts.slice(from, to), span.end];
    const pieces: Span[] = [];
    for (let index = 0; index + 1 < cuts.length; index++) {
      const [start = 0, end = 0] = [cuts[index], cuts[index + 1]];
      if (start === end) continue;
      const seen = gap.seen.subarray(start - span.start, end - span.start);
      const isSound = seen[0] === MET && !seen.includes(UNSOUND);
      const isFound = isSound && (this.#all || region.holdsSiteBytes({ start, end, isFunction: false }));
      if (isFound) region.markStart(start);
      const last = pieces.at(-1);
      if (isFound) pieces.push({ start, end, isFunction: true, isFound });
      else if (last && !last.isFunction) pieces[pieces.length - 1] = { ...last, end };
      else pieces.push({ start, end, isFunction: false });
    }
    return pieces;
  }
}

const EXIT = [60, 231];

/** What a run of instructions has put into eax, as far as it matters: a program ends by exit(2). */
class Accumulator {
  #value: number | undefined;

  /** Takes the next instruction; answers whether nothing comes after it. */
  endsProgram(instruction: Instruction): boolean {
    const { Code, Register } = iced();
    if (instruction.code === Code.Syscall) return EXIT.includes(this.#value ?? 0);
    const isAccumulator = [Register.RAX, Register.EAX, Register.AX, Register.AL, Register.AH].includes(
      instruction.op0Register,
    );
    if (instruction.code === Code.Mov_r32_imm32 && isAccumulator) this.#value = instruction.immediate32;
    else if (isAccumulator || instruction.flowControl !== iced().FlowControl.Next) this.#value = undefined;
    return false;
  }
}

/** Where a direct branch or call goes. */
export function branchTarget(instruction: Instruction): number | undefined {
  const { FlowControl } = iced();
  switch (instruction.flowControl) {
    case FlowControl.UnconditionalBranch:
    case FlowControl.ConditionalBranch:
    case FlowControl.Call:
    case FlowControl.XbeginXabortXend: {
      const target = Number(instruction.nearBranchTarget);
      return target === 0 ? undefined : target;
    }
    default:
      return undefined;
  }
}

/** An address that an instruction loads, as that of a function to be called later. */
function namedAddress(instruction: Instruction): number | undefined {
  const { Code } = iced();
  switch (instruction.code) {
    case Code.Lea_r64_m:
      return instruction.isIpRelMemoryOperand ? Number(instruction.ipRelMemoryAddress) : undefined;
    case Code.Mov_r32_imm32:
    case Code.Mov_rm32_imm32:
      return instruction.immediate32;
    case Code.Mov_rm64_imm32:
      return Number(instruction.immediate32to64);
    default:
      return undefined;
  }
}

/** Whether what stands before an address ends a function: alignment, a return, an endless stop. */
function beginsFunction(region: Region, address: number): boolean {
  const before = region.byteAt(address - 1);
  return address % 16 === 0 || before === undefined || [0xc3, 0xcc, 0x90, 0xf4].includes(before);
}
