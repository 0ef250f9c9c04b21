/** What the patcher is asked for and what it answers. */

/** Where patched code goes instead of executing `syscall`. */
export type PatchEntry =
  /** A jump to this address, with rcx = return address and r11 free. */
  | { readonly kind: "jump"; readonly address: number }
  /** A `syscall` in the stub: for testing patched files on a plain Linux. */
  | { readonly kind: "syscall" };

/** Settings of a patch run. */
export interface PatchOptions {
  /** Default: a jump to the library OS's fast entry. */
  readonly entry?: PatchEntry;
}

/**
 * Why a site was left alone:
 * - `branch-target`: every window of five bytes has a branch target inside;
 * - `not-relocatable`: every window holds an instruction that cannot be moved;
 * - `unreadable-function`: its function holds bytes that are no code;
 * - `too-far`: the stub would lie more than 2 GiB away.
 */
export type SkipReason = "branch-target" | "not-relocatable" | "unreadable-function" | "too-far";

/** A site that still traps. */
export interface SkippedSite {
  readonly address: number;
  readonly reason: SkipReason;
}

/** What was done. Addresses are link-time virtual addresses. */
export interface PatchReport {
  /** Number of `syscall` instructions found. */
  readonly sites: number;
  /** Number of them that no longer trap. */
  readonly patched: number;
  readonly skipped: readonly SkippedSite[];
  /** The bytes that were replaced, `[start, end)`, and where their jump leads. */
  readonly windows: readonly {
    readonly site: number;
    readonly start: number;
    readonly end: number;
    readonly stub: number;
  }[];
  /** The appended code, if anything was patched. */
  readonly stubs?: { readonly vaddr: number; readonly offset: number; readonly size: number };
}

/** The patched file and the report. `bytes` is the input itself if nothing was patched. */
export interface PatchResult {
  readonly bytes: Uint8Array;
  readonly report: PatchReport;
}
