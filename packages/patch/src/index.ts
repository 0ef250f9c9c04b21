/** Rewrites `syscall` instructions into jumps to the library OS. */

export { FAST_ENTRY_ADDRESS, patchSyscalls } from "./patch.ts";
export type {
  PatchEntry,
  PatchOptions,
  PatchReport,
  PatchResult,
  SkippedSite,
  SkipReason,
} from "./report.ts";
