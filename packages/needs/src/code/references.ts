/** What every function of a file refers to: one pass over all of its code. */

import { type ElfFile, FileType } from "@spore/elf";
import { iced, type Region, type Span } from "@spore/patch";

/** A function and what it refers to. */
export interface CodeFunction {
  readonly region: Region;
  readonly span: Span;
  /** Targets of direct calls, and of jumps that leave the function. */
  readonly targets: readonly number[];
  /** Addresses of code or data in its operands. */
  readonly addresses: readonly number[];
  /** False if no way out was seen: its callers do not go on. */
  readonly returns: boolean;
}

/** All functions by address. */
export function readFunctions(elf: ElfFile, regions: readonly Region[]): CodeFunction[] {
  const fixed = elf.header.type === FileType.executable;
  const first = elf.loads[0]?.vaddr ?? 0;
  const last = elf.loads.at(-1);
  const limit = last ? last.vaddr + last.memorySize : 0;
  const isInside = (address: number): boolean => address >= first && address < limit;
  return regions.flatMap((region) =>
    region.spans
      .filter(({ isFunction }) => isFunction)
      .map((span) => readFunction(region, span, fixed ? isInside : undefined)),
  );
}

/** Reads one function. `isInside`: numbers may be addresses, since the file stands where it was linked. */
export function readFunction(
  region: Region,
  span: Span,
  isInside: ((address: number) => boolean) | undefined,
): CodeFunction {
  const { FlowControl, OpKind } = iced();
  const targets = new Set<number>();
  const addresses = new Set<number>();
  let returns = false;
  region.visit(span.start, span.end, (instruction) => {
    if (instruction.isIpRelMemoryOperand) addresses.add(Number(instruction.ipRelMemoryAddress));
    else if (isInside) {
      for (let index = 0; index < instruction.opCount; index++) {
        const kind = instruction.opKind(index);
        const number =
          kind === OpKind.Memory
            ? Number(instruction.memoryDisplacement)
            : kind >= OpKind.Immediate32 && kind <= OpKind.Immediate32to64
              ? Number(instruction.immediate(index))
              : 0;
        if (isInside(number)) addresses.add(number);
      }
    }
    switch (instruction.flowControl) {
      case FlowControl.Next:
        return;
      case FlowControl.Return:
      case FlowControl.IndirectBranch:
        returns = true;
        return;
      case FlowControl.UnconditionalBranch:
      case FlowControl.ConditionalBranch:
      case FlowControl.Call: {
        const target = Number(instruction.nearBranchTarget);
        if (target > span.start && target < span.end) return;
        targets.add(target);
        if (instruction.flowControl !== FlowControl.Call && target !== span.start) returns = true;
      }
    }
  });
  return { region, span, targets: [...targets], addresses: [...addresses], returns };
}
