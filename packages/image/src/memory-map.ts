/**
 * The addresses of abi/src/layout.rs that the builder places things at; a test
 * holds the two together.
 */

/** Size of a small page. */
export const PAGE = 4096;
/** Size of a large page: the unit in which the monitor maps. */
export const HUGE: number = 2 << 20;

/** First guest-physical frame for private program regions. */
export const FREE_GPA = 0x80_0000;
/** Smallest guest memory that can boot. */
export const MIN_RAM: number = 24 << 20;
/** Largest guest memory. */
export const MAX_RAM: number = 32 * 2 ** 30;
/** First guest-physical address of image layers. */
export const LAYERS_GPA = 0x10_0000_0000;
/** End of the space for image layers. */
export const LAYERS_END = 0x18_0000_0000;
/** The kernel image may fill [KERNEL_GPA, KERNEL_END). */
export const KERNEL_GPA = 0x20_0000;
/** See `KERNEL_GPA`. */
export const KERNEL_END = 0x60_0000;

/** Lowest address an application may map. */
export const USER_MIN = 0x1_0000;
/** Start of the window that mappings are placed in, top-down. */
export const SPARSE_MIN = 0x1000_0000_0000;
/** Where position-independent programs are placed. */
export const PIE_BASE = 0x5555_5540_0000;
/** Where the interpreter (ld.so) is placed. */
export const INTERP_BASE = 0x7eff_8000_0000;
/** The arena: all RAM, linearly. */
export const ARENA_VA = 0x7f00_0000_0000;
/** Address the kernel is linked at; its first page is the header. */
export const KERNEL_VA = 0x7f80_0020_0000;

/** Rounds down to a multiple of `unit` (exact below 2^53). */
export function alignDown(value: number, unit: number): number {
  return value - (value % unit);
}

/** Rounds up to a multiple of `unit` (exact below 2^53). */
export function alignUp(value: number, unit: number): number {
  const rest = value % unit;
  return rest === 0 ? value : value + (unit - rest);
}
