/** Finds every `syscall` and `cpuid` instruction and everything that may be jumped to. */
import { type ElfFile, type FrameRecord, readLandingPads, SegmentFlag } from "@spore/elf";
import type { Instruction } from "iced-x86";
import { firstAbove, type Region, type Span } from "./code.ts";
import { branchTarget } from "./follow.ts";
import { SIGNAL_RETURN } from "./functions.ts";
import { iced } from "./iced.ts";
import type { SiteKind, SkippedSite, SkipReason } from "./report.ts";

/** One `syscall` or `cpuid` instruction. */
export interface Site {
  readonly address: number;
  readonly kind: SiteKind;
  readonly region: Region;
  readonly span: Span;
  /** Why nothing around it may be moved, whatever stands there. */
  readonly fixed: SkipReason | undefined;
}

/** A jump table holds no more entries than this. */
const LONGEST_TABLE = 4096;
/** Entries of all tables together, a thousand times what large programs have. Beyond, everything may be a target. */
const MOST_ENTRIES: number = 1 << 26;
/** In functions larger than this nothing is moved: none that people write comes near. */
const LARGEST_FUNCTION: number = 1 << 20;

/**
 * The sites in functions that hold the right two bytes somewhere. Nothing else
 * is decoded: most programs have no site at all, and large ones take seconds.
 */
export function glanceAt(regions: readonly Region[]): Omit<SkippedSite, "reason">[] {
  const found: Omit<SkippedSite, "reason">[] = [];
  for (const region of regions) {
    for (const span of region.spans) {
      if (!span.isFunction || !region.holdsSiteBytes(span)) continue;
      region.visit(span.start, span.end, (instruction, address) => {
        const kind = kindOf(instruction);
        if (kind !== undefined) found.push({ address, kind });
      });
    }
  }
  return found;
}

/** Decodes all code once: marks branch targets in the regions and returns the sites by address. */
export function scanCode(elf: ElfFile, regions: readonly Region[], frames: readonly FrameRecord[]): Site[] {
  const scan = new Scan(elf, regions, frames);
  for (const region of regions) for (const span of region.spans) scan.span(region, span);
  for (const record of frames) for (const pad of readLandingPads(elf, record)) scan.mark(pad);
  scan.markPossible();
  return scan.setsFlags
    ? scan.sites.map((site) => ({ ...site, fixed: site.fixed ?? "sets-flags" }))
    : scan.sites;
}

function kindOf({ code }: Instruction): SiteKind | undefined {
  const { Code } = iced();
  return code === Code.Syscall ? "syscall" : code === Code.Cpuid ? "cpuid" : undefined;
}

/** A `popf` so close behind a change of what lies on the stack loads flags of the program's choice. */
const CLOSE = 16;

/** Go's runtime, for one, only takes back what it has put there. */
function changesStackTop({ code, op0Kind, memoryBase }: Instruction): boolean {
  const { Code, OpKind, Register } = iced();
  switch (code) {
    case Code.Push_r64:
    case Code.Push_rm64:
    case Code.Pushq_imm32:
    case Code.Pushq_imm8:
      return true;
    default:
      return op0Kind === OpKind.Memory && memoryBase === Register.RSP;
  }
}

class Scan {
  readonly sites: Site[] = [];
  /**
   * The program loads the processor's flags: a system call that traps keeps them,
   * and a program that steps through itself finds its own instructions.
   */
  setsFlags = false;
  /** There are more jump tables than any program has. */
  isOverwhelming = false;
  readonly #elf: ElfFile;
  readonly #regions: readonly Region[];
  readonly #signalFrames: readonly FrameRecord[];
  /** Functions that jump to computed addresses, and what they load. */
  readonly #dispatchers: { span: Span; loaded: ReadonlySet<number> }[] = [];
  /** All addresses that `lea` instructions load. */
  readonly #loaded = new Set<number>();
  /** Addresses found in data: jumped to, or numbers that look so. */
  readonly #possible = new Set<number>();
  /** Tables that were read, by place and base. */
  readonly #tables = new Set<string>();
  #entries = 0;

  constructor(elf: ElfFile, regions: readonly Region[], frames: readonly FrameRecord[]) {
    this.#elf = elf;
    this.#regions = regions;
    this.#signalFrames = frames.filter(({ common }) => common.augmentation.includes("S"));
  }

  mark(address: number): void {
    for (const region of this.#regions) region.markTarget(address);
  }

  span(region: Region, span: Span): void {
    const { Code, FlowControl } = iced();
    const found: { address: number; kind: SiteKind }[] = [];
    const loaded: number[] = [];
    let indirect = false;
    let readable = true;
    let changed = Number.NEGATIVE_INFINITY;
    region.visit(span.start, span.end, (instruction, address) => {
      if (span.isFunction) region.markBoundary(address);
      const { code } = instruction;
      if (changesStackTop(instruction)) changed = address;
      const kind = kindOf(instruction);
      if (kind !== undefined) {
        found.push({ address, kind });
      } else if (code === Code.Popfq) {
        this.setsFlags ||= span.isFunction && address - changed <= CLOSE;
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
    const isLarge = span.end - span.start > LARGEST_FUNCTION;
    for (const address of loaded) this.#loaded.add(address);
    if (indirect) this.#dispatchers.push({ span, loaded: new Set(loaded) });
    if (!span.isFunction || !readable) {
      // Without known instructions every address may be the start of one.
      for (let address = span.start; address < span.end; address++) region.markBoundary(address);
    }
    // Between functions only branches count: what looks like a site there may be data.
    if (!span.isFunction) return;
    for (const { address, kind } of found) {
      const fixed = readable && !isLarge ? this.#reasonToLeave(region, span, address) : "unreadable-function";
      this.sites.push({ address, kind, region, span, fixed });
    }
  }

  /** The end of a signal handler stays, unless a record says what it is: then nobody looks at its bytes. */
  #reasonToLeave(region: Region, span: Span, address: number): SkipReason | undefined {
    if (span.isFound && !region.isReached(address)) return "not-reached";
    if (!region.holds(address + 2 - SIGNAL_RETURN.length, SIGNAL_RETURN)) return undefined;
    const recorded = this.#signalFrames.some(({ start, end }) => address >= start && address < end);
    return recorded ? undefined : "signal-return";
  }

  /** Entries of `jmp [table + register * 8]`, as programs at a fixed address use it. */
  #absoluteTable(instruction: Instruction): void {
    const { None } = iced().Register;
    if (instruction.memoryBase !== None || instruction.memoryIndex === None) return;
    const { view } = this.#elf;
    const offset = this.#dataOffset(Number(instruction.memoryDisplacement));
    if (offset === undefined || !this.#isNew(offset, 0)) return;
    for (let at = offset; at < offset + LONGEST_TABLE * 8 && at + 8 <= view.length; at += 8) {
      if (this.#entries++ > MOST_ENTRIES) return;
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
        for (const label of labels) {
          if (this.#entries > MOST_ENTRIES) return;
          this.#relativeTable(table, size, label, inside);
        }
      }
    }
  }

  #isNew(offset: number, base: number): boolean {
    const key = `${offset} ${base}`;
    if (this.#tables.has(key)) return false;
    this.#tables.add(key);
    return true;
  }

  #relativeTable(table: number, size: number, base: number, isTarget: (target: number) => boolean): void {
    const { view } = this.#elf;
    const offset = this.#dataOffset(table);
    if (offset === undefined || this.#entries++ > MOST_ENTRIES || !this.#isNew(offset, base)) return;
    const end = Math.min(view.length, offset + Math.min(size, LONGEST_TABLE * 4));
    for (let at = offset; at + 4 <= end; at += 4) {
      if (this.#entries++ > MOST_ENTRIES) return;
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
    // A file that only looks like a program: no place in it is known to be safe.
    this.isOverwhelming = this.#entries > MOST_ENTRIES;
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
