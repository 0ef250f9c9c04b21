/** Names of the library OS: what was linked here is kept with its symbols beside what runs. */

import { readFileSync } from "node:fs";
import { type ElfFile, parseElf, readSymbols, type SymbolTable } from "@spore/elf";
import type { KernelPlace } from "./crash.ts";
import { demangle } from "./demangle.ts";

/** Reads the symbols of a library OS once they are asked for. */
export class KernelSymbols {
  readonly place: KernelPlace;
  #read: { readonly elf: ElfFile; readonly symbols: SymbolTable | undefined } | null | undefined;

  constructor(place: KernelPlace) {
    this.place = place;
  }

  /** Whether an address lies in the library OS. */
  has(address: bigint): boolean {
    return this.place.start <= address && address < this.place.end;
  }

  /** "spore_kernel::fs::path::walk+0x12"; undefined if nobody knows. A return address stands behind its call. */
  name(address: bigint, kind: "exact" | "return" = "exact"): string | undefined {
    const before = kind === "return" ? 1 : 0;
    try {
      const hit = this.#elf()?.symbols?.lookup(Number(address) - before);
      return hit && `${demangle(hit.symbol.name)}+0x${(hit.offset + before).toString(16)}`;
    } catch {
      // A damaged symbol table costs the name, not the report.
      return undefined;
    }
  }

  /** Whether an address stands behind a call: other words on a stack only look like return addresses. */
  isBehindCall(address: bigint): boolean {
    const elf = this.#elf()?.elf;
    const at = Number(address);
    const load = elf?.loads.find(({ vaddr, fileSize }) => vaddr < at && at <= vaddr + fileSize);
    if (!elf || !load) return false;
    const end = load.offset + at - load.vaddr;
    const byte = (back: number): number => elf.view.bytes[end - back] ?? 0;
    // call rel32; call through a register or memory, with its shorter and longer operands.
    return (
      byte(5) === 0xe8 ||
      [2, 3, 4, 6, 7].some((back) => byte(back) === 0xff && (byte(back - 1) & 0x38) === 0x10)
    );
  }

  #elf(): { readonly elf: ElfFile; readonly symbols: SymbolTable | undefined } | null {
    if (this.#read === undefined) {
      try {
        const elf = parseElf(new Uint8Array(readFileSync(this.place.path.replace(/\.kernel$/, ".elf"))));
        this.#read = { elf, symbols: readSymbols(elf) };
      } catch {
        // It was linked on another machine.
        this.#read = null;
      }
    }
    return this.#read;
  }
}
