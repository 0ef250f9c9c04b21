/** What the patcher is asked for and what it answers. */

/** Where patched code goes instead of executing the instruction. */
export type PatchEntry =
  /**
   * Jumps into the library OS. For `syscall` with rcx = return address and r11
   * free; for `cpuid` with rdx = return address and rbx free.
   */
  | { readonly kind: "jump"; readonly syscall: number; readonly cpuid: number }
  /** The instruction itself in the stub: for testing patched files on a plain Linux. */
  | { readonly kind: "itself" };

/** Settings of a patch run. */
export interface PatchOptions {
  /** Default: jumps to the library OS's fast entries. */
  readonly entry?: PatchEntry;
}

/** The instructions that are replaced: both leave the guest when they are executed. */
export type SiteKind = "syscall" | "cpuid";

/**
 * Why a site was left alone:
 * - `branch-target`: every window of five bytes has a branch target inside;
 * - `not-relocatable`: every window holds an instruction that cannot be moved;
 * - `unreadable-function`: its function holds bytes that are no code;
 * - `not-reached`: nothing records its function, and no way was found there from what is known as code;
 * - `signal-return`: unwinders know the end of a signal handler by its very bytes;
 * - `sets-flags`: the program loads the processor's flags, and may notice that jumps do not keep them;
 * - `trailing-data`: the file carries something behind its end, which it finds by counting from there;
 * - `large-program`: reading all of the code takes longer than its few `cpuid` do;
 * - `too-many`: more sites than any program has;
 * - `too-far`: the stub would lie more than 2 GiB away;
 * - `not-confirmed`: what was written did not read back as what it stands for.
 */
export type SkipReason =
  | "branch-target"
  | "not-relocatable"
  | "unreadable-function"
  | "not-reached"
  | "signal-return"
  | "sets-flags"
  | "trailing-data"
  | "large-program"
  | "too-many"
  | "too-far"
  | "not-confirmed";

/** A site that still traps. */
export interface SkippedSite {
  readonly address: number;
  readonly kind: SiteKind;
  readonly reason: SkipReason;
}

/** Sites of one kind in one file. */
export interface SiteCounts {
  /** Instructions found. */
  readonly sites: number;
  /** Those of them that no longer trap. */
  readonly patched: number;
  /** How many were left, by reason. */
  readonly left: Readonly<Partial<Record<SkipReason, number>>>;
}

/** The counts of a file by kind of site. */
export type PatchCounts = Readonly<Record<SiteKind, SiteCounts>>;

/** What was done. Addresses are link-time virtual addresses. */
export interface PatchReport {
  readonly counts: PatchCounts;
  readonly skipped: readonly SkippedSite[];
  /** The bytes that were replaced, `[start, end)`, and where their jump leads. */
  readonly windows: readonly {
    readonly kind: SiteKind;
    readonly site: number;
    readonly start: number;
    readonly end: number;
    readonly stub: number;
    /** The instruction stands where it stood, out of the way: it is for calls that are made again. */
    readonly keepsSite: boolean;
  }[];
  /** The appended code, if anything was patched. */
  readonly stubs?: { readonly vaddr: number; readonly offset: number; readonly size: number };
}

/** The patched file and the report. `bytes` is the input itself if nothing was patched. */
export interface PatchResult {
  readonly bytes: Uint8Array;
  readonly report: PatchReport;
}
