/**
 * Instructions that read an address from a table, which they can do without: everything
 * lies within reach of a relative call or lea (x86-64 psABI, B.2).
 */

/** Whether a relocation asks for the place of an address, not for the address. */
export function isIndirect(type: number): boolean {
  // R_X86_64_GOTPCREL, GOTPCRELX and REX_GOTPCRELX.
  return type === 9 || type === 41 || type === 42;
}

/** How an instruction does without the table. */
export const Relaxation = {
  /** It cannot. */
  none: 0,
  /** call *place(%rip) -> addr32 call target */
  call: 1,
  /** jmp *place(%rip) -> jmp target; nop */
  jump: 2,
  /** mov place(%rip), %reg -> lea target(%rip), %reg */
  load: 3,
} as const;

/**
 * How the instruction whose 32-bit field is at `field` does without the table. The field
 * follows opcode and ModRM byte, as in every rip-relative instruction without an immediate;
 * nothing before `start` belongs to it.
 */
export function relaxation(bytes: Uint8Array, field: number, start: number): number {
  if (field - 2 < start) return Relaxation.none;
  const opcode = bytes[field - 2];
  const modrm = bytes[field - 1] ?? 0;
  if (opcode === 0xff && modrm === 0x15) return Relaxation.call;
  if (opcode === 0xff && modrm === 0x25) return Relaxation.jump;
  if (opcode !== 0x8b || (modrm & 0xc7) !== 0x05 || field - 3 < start) return Relaxation.none;
  // Only with the 64-bit prefix.
  return ((bytes[field - 3] ?? 0) & 0xf8) === 0x48 ? Relaxation.load : Relaxation.none;
}

/** Rewrites the instruction whose field is at `field`; answers where its distance stands now. */
export function relax(bytes: Uint8Array, field: number, how: number): number {
  switch (how) {
    case Relaxation.call:
      bytes[field - 2] = 0x67;
      bytes[field - 1] = 0xe8;
      return field;
    case Relaxation.jump:
      bytes[field - 2] = 0xe9;
      bytes[field + 3] = 0x90;
      return field - 1;
    default:
      bytes[field - 2] = 0x8d;
      return field;
  }
}
