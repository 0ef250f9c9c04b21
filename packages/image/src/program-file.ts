/** Reading an ELF program or library of the host, with errors that users understand. */

import { readFileSync, statSync } from "node:fs";
import { ElfError, type ElfFile, FileType, interpreter, parseElf, readDynamic } from "@spore/elf";
import { sporeError } from "@spore/errors";
import { looksLikeElf } from "./host-file.ts";
import type { LoadSegment } from "./layout.ts";
import { MAX_RAM } from "./memory-map.ts";

/** e_machine values that people come across. */
const MACHINES: Readonly<Record<number, string>> = {
  2: "SPARC",
  3: "32-bit x86",
  8: "MIPS",
  20: "32-bit PowerPC",
  21: "PowerPC",
  22: "S/390",
  40: "32-bit ARM",
  62: "x86-64",
  183: "ARM64",
  243: "RISC-V",
  247: "BPF",
  258: "LoongArch",
};

/** Throws SPORE_ELF_MACHINE or SPORE_ELF_INVALID unless the bytes are a program that can run. */
export function checkProgram(path: string, bytes: Uint8Array): void {
  const elf = parseFor(path, bytes);
  if (elf.header.type === FileType.relocatable) throw invalid(path, "it is an object file: link it first");
  if (elf.loads.length === 0) throw invalid(path, "it has no loadable segment");
  if (elf.header.type === FileType.shared && interpreterOf(path, elf) === undefined) {
    const pie = guarded(path, () => readDynamic(elf))?.pie === true;
    if (!pie) throw invalid(path, "it is a shared library");
  }
  const { entry } = elf.header;
  if (!elf.loads.some((load) => entry >= load.vaddr && entry < load.vaddr + load.memorySize)) {
    throw invalid(path, "its entry point lies outside its segments");
  }
  checkExtent(path, elf);
}

/** Throws SPORE_ELF_INVALID for a file that takes more memory than a guest can have. */
export function checkExtent(path: string, elf: ElfFile): void {
  const [first, last] = [elf.loads[0], elf.loads.at(-1)];
  const extent = first && last ? last.vaddr + last.memorySize - first.vaddr : 0;
  if (extent > MAX_RAM) throw invalid(path, "its segments take more memory than a guest can have");
}

/** Nothing that is loaded is larger. */
const LARGEST_FILE: number = 2 ** 31 - 1;

/** Reads a program or library: a regular file, and not one that fills the memory. */
export function readBinary(path: string): Buffer {
  const stat = statSync(path);
  if (!stat.isFile()) throw invalid(path, "it is not a regular file");
  if (stat.size > LARGEST_FILE) throw invalid(path, "it is larger than 2 GiB");
  return readFileSync(path);
}

/** Parses any ELF file for the name of `path`. */
export function parseFor(path: string, bytes: Uint8Array): ElfFile {
  if (!looksLikeElf(bytes)) throw invalid(path, describeStart(bytes));
  if (bytes.length >= 20) {
    const machine = (bytes[18] ?? 0) | ((bytes[19] ?? 0) << 8);
    const bigEndian = bytes[5] === 2;
    const number = bigEndian ? ((machine & 255) << 8) | (machine >> 8) : machine;
    if (number !== 62) throw wrongMachine(path, MACHINES[number] ?? `machine ${number}`);
    if (bytes[4] === 1) throw wrongMachine(path, "32-bit x86 code (x32)");
  }
  return guarded(path, () => parseElf(bytes));
}

/** The interpreter that a program names. */
export function interpreterOf(path: string, elf: ElfFile): string | undefined {
  return guarded(path, () => interpreter(elf));
}

/** Runs something that reads an ELF file; an ElfError becomes SPORE_ELF_INVALID. */
export function guarded<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof ElfError) throw invalid(path, error.message, error);
    throw error;
  }
}

/** The loadable segments as the layout takes them. */
export function loadSegments(elf: ElfFile): LoadSegment[] {
  return elf.loads.map(({ offset, vaddr, fileSize, memorySize, flags }) => {
    // p_flags has execute 1, write 2, read 4; PROT_ has read 1, write 2, execute 4.
    const prot = ((flags & 4) !== 0 ? 1 : 0) | (flags & 2) | ((flags & 1) !== 0 ? 4 : 0);
    return { offset, vaddr, fileSize, memorySize, prot };
  });
}

function describeStart(bytes: Uint8Array): string {
  if (bytes.length === 0) return "it is empty";
  if (bytes[0] === 0x23 && bytes[1] === 0x21) return "it is a script";
  return "it is not an ELF file";
}

function invalid(file: string, problem: string, cause?: unknown): Error {
  return sporeError("SPORE_ELF_INVALID", { file, problem }, { cause });
}

function wrongMachine(file: string, machine: string): Error {
  return sporeError("SPORE_ELF_MACHINE", { file, machine });
}
