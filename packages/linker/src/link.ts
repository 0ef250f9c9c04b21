/** Links a kernel from its archive and a choice of pieces: the passes, in order. */

import { collect } from "./collect.ts";
import { layout, type Window } from "./layout.ts";
import type { Input } from "./parse.ts";
import { relocate } from "./relocate.ts";
import { type PieceReport, report } from "./report.ts";
import { resolve } from "./resolve.ts";
import { type Choice, select } from "./select.ts";
import { write } from "./write.ts";

/** A linked kernel. */
export interface LinkedKernel {
  /** With symbols, for debuggers and binutils. */
  readonly elf: Uint8Array;
  /** The bytes that stand in memory from the window's address on. */
  readonly image: Uint8Array;
  /** Bytes that it takes in memory, zeros included. */
  readonly memoryLength: number;
  /** Everything that is in it, the core first. */
  readonly pieces: readonly PieceReport[];
}

/** Links the chosen pieces of a parsed archive. Throws LinkError or ElfError. */
export function link(input: Input, choice: Choice, window: Window): LinkedKernel {
  const selection = select(input.catalogue, choice);
  const resolved = resolve(input, selection.object);
  const collected = collect(resolved, selection);
  const placed = layout(resolved, collected, window);
  const image = relocate(resolved, collected, placed);
  const elf = write(resolved, placed, image);
  return {
    elf,
    image,
    memoryLength: placed.memoryLength,
    pieces: report(resolved, collected, selection, input.catalogue),
  };
}
