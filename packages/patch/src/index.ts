/** Rewrites `syscall` instructions into jumps to the library OS. */

export type { PatchEntry, PatchOptions, PatchReport, PatchResult, SkipReason } from "./report.ts";
