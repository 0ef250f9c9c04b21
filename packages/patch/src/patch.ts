/** The patcher: scan, choose windows, write stubs, append them, overwrite the windows. */
import { fileOffset, parseElf, readFrames } from "@spore/elf";
import { appendSegment, planAppendix } from "./append.ts";
import type { Region, Span } from "./code.ts";
import { isConfirmed } from "./confirm.ts";
import { readRegions } from "./functions.ts";
import type {
  PatchEntry,
  PatchOptions,
  PatchReport,
  PatchResult,
  SiteCounts,
  SiteKind,
  SkippedSite,
  SkipReason,
} from "./report.ts";
import { glanceAt, type Site, scanCode } from "./scan.ts";
import { type Stub, StubWriter, windowBytes } from "./stub.ts";
import { type Candidate, chooseWindow, listCandidates, type Window } from "./window.ts";

/** Where the library OS takes patched instructions: `FAST_ENTRY_VA` and `CPUID_ENTRY_VA` in abi/src/layout.rs. */
export const FAST_ENTRY: PatchEntry = {
  kind: "jump",
  syscall: 0x7f80_0020_0100,
  cpuid: 0x7f80_0020_0140,
};

/** C libraries have five hundred. */
const MOST_SITES = 20_000;
/** Bytes of code beyond which a program without system calls of its own is left as it is: Node has 43 MB. */
const LARGE: number = 32 << 20;

/**
 * Makes the `syscall` and `cpuid` instructions of an ELF program or library
 * jumps to the library OS. What cannot be patched stays as it is, and traps.
 * Pure: the same bytes and options give the same result. Throws ElfError for a
 * malformed file.
 */
export function patchSyscalls(bytes: Uint8Array, options: PatchOptions = {}): PatchResult {
  const elf = parseElf(bytes);
  const frames = readFrames(elf);
  const regions = readRegions(elf, frames);
  try {
    const found = glanceAt(regions);
    if (found.length === 0) return { bytes, report: reportOf([], [], []) };
    const appendix = planAppendix(elf);
    const reason = appendix ? reasonToLeaveAll(found, regions) : "trailing-data";
    if (!appendix || reason !== undefined) {
      const skipped = found.map((each) => ({ ...each, reason: reason ?? "trailing-data" }));
      return { bytes, report: reportOf(found, [], skipped) };
    }
    const sites = scanCode(elf, regions, frames);
    const writer = new StubWriter(appendix.vaddr + appendix.reserved, options.entry ?? FAST_ENTRY);
    const skipped: SkippedSite[] = [];
    const stubs = writeStubs(sites, writer, skipped);
    const report = reportOf(sites, stubs, skipped);
    if (stubs.length === 0) return { bytes, report };
    const code = writer.bytes;
    const patched = appendSegment(elf, appendix, code);
    for (const stub of stubs) patched.set(windowBytes(stub), fileOffset(elf, stub.window.start, 0));
    const [vaddr, offset] = [appendix.vaddr + appendix.reserved, appendix.offset + appendix.reserved];
    return { bytes: patched, report: { ...report, stubs: { vaddr, offset, size: code.length } } };
  } finally {
    for (const region of regions) region.free();
  }
}

function reasonToLeaveAll(
  found: readonly { readonly kind: SiteKind }[],
  regions: readonly Region[],
): SkipReason | undefined {
  if (found.length > MOST_SITES) return "too-many";
  const size = regions.reduce((sum, { start, end }) => sum + end - start, 0);
  return size > LARGE && found.every(({ kind }) => kind === "cpuid") ? "large-program" : undefined;
}

/** The stubs of all sites that can have one and read back as what they stand for. */
function writeStubs(sites: readonly Site[], writer: StubWriter, skipped: SkippedSite[]): Stub[] {
  const stubs: Stub[] = [];
  for (const window of chooseWindows(sites, skipped)) {
    const { address, kind } = window.site;
    const stub = writer.add(window);
    if (!stub) {
      skipped.push({ address, kind, reason: "too-far" });
    } else if (
      isConfirmed(
        { window, address: stub.address, over: windowBytes(stub), code: writer.codeOf(stub) },
        writer,
      )
    ) {
      stubs.push(stub);
    } else {
      skipped.push({ address, kind, reason: "not-confirmed" });
    }
  }
  return stubs;
}

/** The windows of all sites that can have one, by address. */
function chooseWindows(sites: readonly Site[], skipped: SkippedSite[]): Window[] {
  const windows: Window[] = [];
  const taken = new Set<number>();
  const siteAddresses = new Set(sites.map((site) => site.address));
  let span: Span | undefined;
  let candidates: Candidate[] = [];
  for (const site of sites) {
    // Sites come function by function: one list at a time is enough.
    if (site.span !== span && site.fixed === undefined) {
      span = site.span;
      candidates = listCandidates(site);
    }
    const others = (address: number): boolean =>
      taken.has(address) || (address !== site.address && siteAddresses.has(address));
    const window = chooseWindow(site, candidates, others);
    if (typeof window === "string") {
      skipped.push({ address: site.address, kind: site.kind, reason: window });
      continue;
    }
    for (let address = window.start; address < window.end; address++) taken.add(address);
    windows.push(window);
  }
  return windows;
}

function reportOf(
  sites: readonly { readonly kind: SiteKind }[],
  stubs: readonly Stub[],
  skipped: readonly SkippedSite[],
): PatchReport {
  return {
    counts: { syscall: count("syscall"), cpuid: count("cpuid") },
    skipped: [...skipped].sort((a, b) => a.address - b.address),
    windows: stubs.map(({ window, address }) => ({
      kind: window.site.kind,
      site: window.site.address,
      start: window.start,
      end: window.end,
      stub: address,
      keepsSite: window.keepsSite,
    })),
  };

  function count(kind: SiteKind): SiteCounts {
    const left: Partial<Record<SkipReason, number>> = {};
    for (const each of skipped) if (each.kind === kind) left[each.reason] = (left[each.reason] ?? 0) + 1;
    return {
      sites: sites.filter((site) => site.kind === kind).length,
      patched: stubs.filter(({ window }) => window.site.kind === kind).length,
      left,
    };
  }
}
