/**
 * Instructions that read an address from a table, which they can do without: everything
 * lies within reach of a relative call or lea (x86-64 psABI, B.2).
 */

/** R_X86_64_GOTPCREL, GOTPCRELX and REX_GOTPCRELX. */
const INDIRECT: readonly number[] = [9, 41, 42];

/** Whether a relocation asks for the place of an address, not for the address. */
export function isIndirect(type: number): boolean {
  return INDIRECT.includes(type);
}

/** A rewritten instruction: bytes from `at` on, and where its distance stands. */
export interface Relaxed {
  readonly at: number;
  readonly bytes: readonly number[];
  readonly field: number;
}

/**
 * How an instruction whose 32-bit field is at `field` does without the table; undefined if
 * it cannot. The field follows opcode and ModRM byte, as in every rip-relative instruction
 * without an immediate.
 */
export function relaxation(bytes: Uint8Array, field: number): Relaxed | undefined {
  const opcode = bytes[field - 2];
  const modrm = bytes[field - 1];
  if (opcode === undefined || modrm === undefined) return undefined;
  // call *place(%rip) -> addr32 call target; jmp *place(%rip) -> jmp target; nop
  if (opcode === 0xff && modrm === 0x15) return { at: field - 2, bytes: [0x67, 0xe8], field };
  if (opcode === 0xff && modrm === 0x25) {
    return { at: field - 2, bytes: [0xe9, 0, 0, 0, 0, 0x90], field: field - 1 };
  }
  // mov place(%rip), %reg -> lea target(%rip), %reg; only with the 64-bit prefix.
  const rex = bytes[field - 3];
  const wide = rex !== undefined && (rex & 0xf8) === 0x48;
  if (opcode === 0x8b && (modrm & 0xc7) === 0x05 && wide) return { at: field - 2, bytes: [0x8d], field };
  return undefined;
}
