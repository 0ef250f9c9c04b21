/** Chooses the bytes around a site that make room for a five-byte jump. */
import type { Instruction } from "iced-x86";
import { indexAbove } from "./code.ts";
import { iced } from "./iced.ts";
import type { SkipReason } from "./report.ts";
import type { Site } from "./scan.ts";

/** Length of `jmp rel32`. */
export const JUMP_SIZE = 5;
/** Length of `syscall` and `cpuid`. */
export const SITE_SIZE = 2;
/** No more instructions than this are moved on either side. */
const MOST_MOVED = 4;

/** What moving an instruction means. */
type Kind =
  /** Can be moved anywhere. */
  | "plain"
  /** A direct conditional jump. */
  | "conditional"
  /** A direct jump or a return: only as the last one behind the syscall. */
  | "final"
  /** Stays where it is. */
  | "fixed";

/** An instruction of the function, as far as choosing needs it. */
export interface Candidate {
  readonly address: number;
  readonly size: number;
  readonly kind: Kind;
  /** Moves the stack pointer: unwinding from the stub would be wrong meanwhile. */
  readonly movesStack: boolean;
}

/** The bytes to be replaced. */
export interface Window {
  readonly site: Site;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Addresses of the instructions to be moved before the syscall. */
  readonly before: readonly number[];
  /** Addresses of those behind it. */
  readonly after: readonly number[];
  /** False if the last one of `after` never falls through. */
  readonly returns: boolean;
  /**
   * The instruction stays where it is, behind the jump: an interrupted system
   * call is then made again from there, and a handler sees that address.
   */
  readonly keepsSite: boolean;
}

/** All instructions of the site's function. */
export function listCandidates(site: Site): Candidate[] {
  const list: Candidate[] = [];
  site.region.visit(site.span.start, site.span.end, (instruction, address) => {
    const isCode = !site.span.isFound || site.region.isReached(address);
    list.push({
      address,
      size: instruction.length,
      kind: isCode ? kindOf(instruction) : "fixed",
      movesStack: instruction.stackPointerIncrement !== 0 || writesStackPointer(instruction),
    });
  });
  return list;
}

function writesStackPointer(instruction: Instruction): boolean {
  return instruction.opCount > 0 && instruction.op0Register === iced().Register.RSP;
}

function kindOf(instruction: Instruction): Kind {
  const { Code, FlowControl } = iced();
  switch (instruction.code) {
    // An indirect branch may have to land on it.
    case Code.Endbr64:
    case Code.Syscall:
    case Code.Cpuid:
    case Code.INVALID:
      return "fixed";
    default:
  }
  switch (instruction.flowControl) {
    case FlowControl.Next:
      return "plain";
    case FlowControl.ConditionalBranch:
      return instruction.isJccShortOrNear ? "conditional" : "fixed";
    case FlowControl.UnconditionalBranch:
      return instruction.isJmpShortOrNear ? "final" : "fixed";
    case FlowControl.Return:
      return instruction.code === Code.Retnq ? "final" : "fixed";
    default:
      return "fixed";
  }
}

/**
 * The cheapest window, or why there is none. `isTaken` says whether an address
 * belongs to another site's window already.
 */
export function chooseWindow(
  site: Site,
  candidates: readonly Candidate[],
  isTaken: (address: number) => boolean,
): Window | SkipReason {
  if (site.fixed !== undefined) return site.fixed;
  const at = indexAbove(candidates, site.address, ({ address }) => address) - 1;
  let best: { cost: number; first: number; last: number } | undefined;
  let reason: SkipReason = "not-relocatable";
  for (let first = at; first >= Math.max(0, at - MOST_MOVED); first--) {
    const kind = candidates[first]?.kind;
    if (first < at && kind !== "plain" && kind !== "conditional") break;
    for (let last = at; last <= Math.min(candidates.length - 1, at + MOST_MOVED); last++) {
      if (last > at && !mayFollow(candidates, at, last)) break;
      if (sizeOf(candidates, first, last) < JUMP_SIZE) continue;
      if (!isFree(site, candidates, first, last, isTaken)) {
        reason = "branch-target";
        continue;
      }
      const start = candidates[first]?.address ?? 0;
      const keeps = keepsSite(site, start, start + sizeOf(candidates, first, last));
      const cost = costOf(candidates, first, at, last) + (keeps || site.kind === "cpuid" ? 0 : 20);
      if (!best || cost < best.cost) best = { cost, first, last };
    }
  }
  return best ? makeWindow(site, candidates, best.first, at, best.last) : reason;
}

/** Whether the instruction at `last` can be moved behind the syscall. */
function mayFollow(candidates: readonly Candidate[], at: number, last: number): boolean {
  const previous = candidates[last - 1];
  if (last - 1 > at && previous?.kind === "final") return false;
  return candidates[last]?.kind !== "fixed";
}

function sizeOf(candidates: readonly Candidate[], first: number, last: number): number {
  const end = candidates[last];
  return end ? end.address + end.size - (candidates[first]?.address ?? 0) : 0;
}

/** Nothing may jump into the window, and no other window may overlap it. */
function isFree(
  site: Site,
  candidates: readonly Candidate[],
  first: number,
  last: number,
  isTaken: (address: number) => boolean,
): boolean {
  const start = candidates[first]?.address ?? 0;
  const end = start + sizeOf(candidates, first, last);
  if (isTaken(start)) return false;
  for (let address = start + 1; address < end; address++) {
    if (site.region.isTarget(address) || isTaken(address)) return false;
  }
  return true;
}

/** Whether a window has room for the jump before a system call that ends it. */
function keepsSite(site: Site, start: number, end: number): boolean {
  return site.kind === "syscall" && end === site.address + SITE_SIZE && site.address - start >= JUMP_SIZE;
}

/**
 * Windows that end with the site are far better: the system call then
 * returns straight to the address that it would return to unpatched, where the
 * unwind records hold.
 */
function costOf(candidates: readonly Candidate[], first: number, at: number, last: number): number {
  let cost = last > at ? 100 : 0;
  for (let index = first; index <= last; index++) {
    if (index === at) continue;
    const { kind, movesStack } = candidates[index] ?? { kind: "fixed", movesStack: false };
    cost += 1 + (kind === "plain" ? 0 : 4) + (movesStack ? 10 : 0);
  }
  return cost;
}

function makeWindow(
  site: Site,
  candidates: readonly Candidate[],
  first: number,
  at: number,
  last: number,
): Window {
  const start = candidates[first]?.address ?? 0;
  const end = start + sizeOf(candidates, first, last);
  const addresses = (from: number, to: number): number[] =>
    candidates.slice(from, to).map((each) => each.address);
  return {
    site,
    start,
    end,
    before: addresses(first, at),
    after: addresses(at + 1, last + 1),
    returns: candidates[last]?.kind !== "final",
    keepsSite: keepsSite(site, start, end),
  };
}
