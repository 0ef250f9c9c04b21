/** Rewrites `syscall` and `cpuid` instructions into jumps to the library OS. */

export { Region, type Span } from "./code.ts";
export { readRegions } from "./functions.ts";
export { iced } from "./iced.ts";
export { FAST_ENTRY, patchSyscalls } from "./patch.ts";
export type {
  PatchCounts,
  PatchEntry,
  PatchOptions,
  PatchReport,
  PatchResult,
  SiteCounts,
  SiteKind,
  SkippedSite,
  SkipReason,
} from "./report.ts";
export { type Site, scanCode } from "./scan.ts";
