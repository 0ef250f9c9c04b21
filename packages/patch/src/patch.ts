/** The patcher: scan, choose windows, write stubs, append them, overwrite the windows. */
import { fileOffset, parseElf, readFrames } from "@spore/elf";
import { appendSegment, planAppendix } from "./append.ts";
import { readRegions, type Span } from "./code.ts";
import type { PatchOptions, PatchResult, SkippedSite } from "./report.ts";
import { hasSites, type Site, scanCode } from "./scan.ts";
import { type Stub, StubWriter, windowBytes } from "./stub.ts";
import { type Candidate, chooseWindow, listCandidates, type Window } from "./window.ts";

/** Address of the library OS's fast entry: `FAST_ENTRY_VA` in abi/src/layout.rs. */
export const FAST_ENTRY_ADDRESS = 0x7f80_0020_0100;

/**
 * Makes every `syscall` instruction of an ELF program or library a jump to the
 * library OS. What cannot be patched stays as it is, and traps. Pure: the same
 * bytes and options give the same result. Throws ElfError for a malformed file.
 */
export function patchSyscalls(bytes: Uint8Array, options: PatchOptions = {}): PatchResult {
  const elf = parseElf(bytes);
  const frames = readFrames(elf);
  const regions = readRegions(elf, frames);
  try {
    const sites = hasSites(regions) ? scanCode(elf, regions, frames) : [];
    const skipped: SkippedSite[] = [];
    const appendix = planAppendix(elf);
    if (sites.length === 0 || !appendix) {
      return { bytes, report: { sites: 0, patched: 0, skipped: [], windows: [] } };
    }
    const writer = new StubWriter(
      appendix.vaddr + appendix.reserved,
      options.entry ?? { kind: "jump", address: FAST_ENTRY_ADDRESS },
    );
    const stubs: Stub[] = [];
    for (const window of chooseWindows(sites, skipped)) {
      const stub = writer.add(window);
      if (stub) stubs.push(stub);
      else skipped.push({ address: window.site.address, reason: "too-far" });
    }
    if (stubs.length === 0)
      return { bytes, report: { sites: sites.length, patched: 0, skipped, windows: [] } };
    const code = writer.bytes;
    const patched = appendSegment(elf, appendix, code);
    for (const stub of stubs) patched.set(windowBytes(stub), fileOffset(elf, stub.window.start, 0));
    return {
      bytes: patched,
      report: {
        sites: sites.length,
        patched: stubs.length,
        skipped: skipped.sort((a, b) => a.address - b.address),
        windows: stubs.map(describe),
        stubs: {
          vaddr: appendix.vaddr + appendix.reserved,
          offset: appendix.offset + appendix.reserved,
          size: code.length,
        },
      },
    };
  } finally {
    for (const region of regions) region.free();
  }
}

/** The windows of all sites that can have one, by address. */
function chooseWindows(sites: readonly Site[], skipped: SkippedSite[]): Window[] {
  const windows: Window[] = [];
  const taken = new Set<number>();
  const siteAddresses = new Set(sites.map((site) => site.address));
  const lists = new Map<Span, Candidate[]>();
  for (const site of sites) {
    const candidates = lists.get(site.span) ?? listCandidates(site);
    lists.set(site.span, candidates);
    const others = (address: number): boolean =>
      taken.has(address) || (address !== site.address && siteAddresses.has(address));
    const window = chooseWindow(site, candidates, others);
    if (typeof window === "string") {
      skipped.push({ address: site.address, reason: window });
      continue;
    }
    for (let address = window.start; address < window.end; address++) taken.add(address);
    windows.push(window);
  }
  return windows;
}

function describe({ window, address }: Stub): { site: number; start: number; end: number; stub: number } {
  return { site: window.site.address, start: window.start, end: window.end, stub: address };
}
