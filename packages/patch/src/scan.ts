/** Finds every `syscall` instruction and everything that may be jumped to. */
import { type ElfFile, type FrameRecord, readLandingPads, SegmentFlag } from "@spore/elf";
import type { Instruction } from "iced-x86";
import { firstAbove, type Region, type Span } from "./code.ts";
import { iced } from "./iced.ts";

/** One `syscall` instruction. */
export interface Site {
  readonly address: number;
  readonly region: Region;
  readonly span: Span;
  /** False if the function holds bytes that are no code: then nothing in it is moved. */
  readonly readable: boolean;
}

/** A jump table holds no more entries than this. */
const LONGEST_TABLE = 4096;

/**
 * Whether any function holds a `syscall` instruction. Decodes only the functions
 * with the right two bytes somewhere: most programs have none at all, and large
 * ones take seconds to decode.
 */
export function hasSites(regions: readonly Region[]): boolean {
  const { Code } = iced();
  let found = false;
  for (const region of regions) {
    for (const span of region.spans) {
      if (!span.isFunction || !region.holdsSyscallBytes(span)) continue;
      region.visit(span.start, span.end, ({ code }) => {
        found ||= code === Code.Syscall;
      });
      if (found) return true;
    }
  }
  return false;
}

/** Decodes all code once: marks branch targets in the regions and returns the sites by address. */
export function scanCode(elf: ElfFile, regions: readonly Region[], frames: readonly FrameRecord[]): Site[] {
  const scan = new Scan(elf, regions);
  for (const region of regions) for (const span of region.spans) scan.span(region, span);
  for (const record of frames) for (const pad of readLandingPads(elf, record)) scan.mark(pad);
  scan.markPossible();
  return scan.sites;
}

class Scan {
  readonly sites: Site[] = [];
  readonly #elf: ElfFile;
  readonly #regions: readonly Region[];
  /** Functions that jump to computed addresses, and what they load. */
  readonly #dispatchers: { span: Span; loaded: ReadonlySet<number> }[] = [];
  /** All addresses that `lea` instructions load. */
  readonly #loaded = new Set<number>();
  /** Addresses found in data: jumped to, or numbers that look so. */
  readonly #possible = new Set<number>();

  constructor(elf: ElfFile, regions: readonly Region[]) {
    this.#elf = elf;
    this.#regions = regions;
  }

  mark(address: number): void {
    for (const region of this.#regions) region.markTarget(address);
  }

  span(region: Region, span: Span): void {
    const { Code, FlowControl } = iced();
    const found: number[] = [];
    const loaded: number[] = [];
    let indirect = false;
    let readable = true;
    region.visit(span.start, span.end, (instruction, address) => {
      if (span.isFunction) region.markBoundary(address);
      const { code } = instruction;
      if (code === Code.Syscall) {
        found.push(address);
      } else if (code === Code.INVALID || address + instruction.length > span.end) {
        readable = false;
      } else if (code === Code.Lea_r64_m) {
        if (instruction.isIpRelMemoryOperand) loaded.push(Number(instruction.ipRelMemoryAddress));
      } else if (instruction.flowControl === FlowControl.IndirectBranch) {
        indirect = true;
        this.#absoluteTable(instruction);
      } else {
        const target = branchTarget(instruction);
        if (target !== undefined) this.mark(target);
      }
    });
    readable &&= region.isInStep(span.start, span.end);
    for (const address of loaded) this.#loaded.add(address);
    if (indirect) this.#dispatchers.push({ span, loaded: new Set(loaded) });
    if (!span.isFunction || !readable) {
      // Without known instructions every address may be the start of one.
      for (let address = span.start; address < span.end; address++) region.markBoundary(address);
    }
    // Between functions only branches count: what looks like a syscall there may be data.
    if (!span.isFunction) return;
    for (const address of found) this.sites.push({ address, region, span, readable });
  }

  /** Entries of `jmp [table + register * 8]`, as programs at a fixed address use it. */
  #absoluteTable(instruction: Instruction): void {
    const { None } = iced().Register;
    if (instruction.memoryBase !== None || instruction.memoryIndex === None) return;
    const { view } = this.#elf;
    const offset = this.#dataOffset(Number(instruction.memoryDisplacement));
    if (offset === undefined) return;
    for (let at = offset; at < offset + LONGEST_TABLE * 8 && at + 8 <= view.length; at += 8) {
      const target = view.u64OrUndefined(at);
      if (target === undefined || !this.#isCode(target)) return;
      this.#possible.add(target);
    }
  }

  /**
   * A function with an indirect jump may go through a table of 32-bit distances,
   * counted from the table itself or, with computed gotos, from a label of the
   * function. Every address it loads is tried as the one and the other: a target
   * too many may cost a window, one too few would break the program. A table
   * ends at the latest where the next thing begins that is loaded anywhere.
   */
  #relativeTables(): void {
    const starts = [...this.#loaded].sort((a, b) => a - b);
    for (const { span, loaded } of this.#dispatchers) {
      const labels = [...loaded].filter((address) => this.#isCode(address));
      for (const label of labels) this.#possible.add(label);
      const inside = (target: number): boolean => target >= span.start && target < span.end;
      for (const table of loaded) {
        const size = (firstAbove(starts, table) ?? Number.POSITIVE_INFINITY) - table;
        this.#relativeTable(table, size, table, (target) => this.#isCode(target));
        for (const label of labels) this.#relativeTable(table, size, label, inside);
      }
    }
  }

  #relativeTable(table: number, size: number, base: number, isTarget: (target: number) => boolean): void {
    const { view } = this.#elf;
    const offset = this.#dataOffset(table);
    if (offset === undefined) return;
    const end = Math.min(view.length, offset + Math.min(size, LONGEST_TABLE * 4));
    for (let at = offset; at + 4 <= end; at += 4) {
      const target = base + view.i32(at);
      if (!isTarget(target)) return;
      this.#possible.add(target);
    }
  }

  /**
   * Marks what data may lead to. Every aligned word of the data segments counts
   * that could be a code address: function pointers, tables of labels, and the
   * addends of relocations, which lie in these segments too. A jump leads to the
   * start of an instruction, so other addresses are just numbers.
   */
  markPossible(): void {
    this.#relativeTables();
    const { view } = this.#elf;
    for (const load of this.#elf.loads) {
      if ((load.flags & SegmentFlag.execute) !== 0) continue;
      const start = load.offset + ((8 - (load.vaddr % 8)) % 8);
      for (let at = start; at + 8 <= load.offset + load.fileSize; at += 8) {
        const value = view.u64OrUndefined(at);
        if (value !== undefined && this.#isCode(value)) this.#possible.add(value);
      }
    }
    for (const address of this.#possible) {
      for (const region of this.#regions) if (region.isBoundary(address)) region.markPossible(address);
    }
  }

  #isCode(address: number): boolean {
    return this.#regions.some((region) => region.contains(address));
  }

  /** File offset of an address outside code, or undefined. */
  #dataOffset(address: number): number | undefined {
    for (const load of this.#elf.loads) {
      if ((load.flags & SegmentFlag.execute) !== 0) continue;
      const within = address - load.vaddr;
      if (within >= 0 && within < load.fileSize) return load.offset + within;
    }
    return undefined;
  }
}

/** Where a direct branch or call goes. */
function branchTarget(instruction: Instruction): number | undefined {
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
