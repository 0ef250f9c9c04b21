/** The one error that reading an ELF file can raise. */

/**
 * Why a file was refused:
 * - `not-elf`: no ELF magic;
 * - `wrong-class`: not a 64-bit file;
 * - `wrong-byte-order`: not little endian;
 * - `wrong-machine`: not for x86-64;
 * - `wrong-type`: not a relocatable, executable or shared object file;
 * - `wrong-version`: an ELF version other than 1;
 * - `bad-header`: a count or entry size in the file header makes no sense;
 * - `truncated`: a structure reaches beyond the end of the file;
 * - `out-of-range`: a number too large to be an offset or address here (2^53);
 * - `bad-segment`: a program header contradicts itself;
 * - `segments-overlap`: two PT_LOAD segments overlap or are out of order;
 * - `bad-section`: a section header contradicts itself;
 * - `bad-string`: a string has no end or lies outside its table;
 * - `unmapped-address`: an address that no file-backed segment holds;
 * - `bad-dynamic`: the dynamic section contradicts itself;
 * - `bad-symbols`: a symbol table contradicts itself;
 * - `bad-note`: a note contradicts itself;
 * - `bad-frame`: an unwind record cannot be read;
 * - `not-archive`: no archive magic;
 * - `bad-archive`: a member header or the symbol index contradicts itself;
 * - `bad-relocation`: a relocation contradicts its section.
 */
export type ElfErrorReason =
  | "not-elf"
  | "wrong-class"
  | "wrong-byte-order"
  | "wrong-machine"
  | "wrong-type"
  | "wrong-version"
  | "bad-header"
  | "truncated"
  | "out-of-range"
  | "bad-segment"
  | "segments-overlap"
  | "bad-section"
  | "bad-string"
  | "unmapped-address"
  | "bad-dynamic"
  | "bad-symbols"
  | "bad-note"
  | "bad-frame"
  | "not-archive"
  | "bad-archive"
  | "bad-relocation";

/** A file that is not a well-formed ELF file for x86-64. */
export class ElfError extends Error {
  override readonly name = "ElfError";
  /** Stable code for the cause. */
  readonly reason: ElfErrorReason;

  constructor(reason: ElfErrorReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
