/** Rewrites `syscall` instructions into jumps to the library OS. */

export { Region, readRegions, type Span } from "./code.ts";
export { iced } from "./iced.ts";
export { FAST_ENTRY_ADDRESS, patchSyscalls } from "./patch.ts";
export type {
  PatchEntry,
  PatchOptions,
  PatchReport,
  PatchResult,
  SkippedSite,
  SkipReason,
} from "./report.ts";
export { type Site, scanCode } from "./scan.ts";
