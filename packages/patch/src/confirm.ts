/** Reads back what was written: a window that is not what it should be is taken back. */
import type { Instruction } from "iced-x86";
import { iced } from "./iced.ts";
import type { StubWriter } from "./stub.ts";
import { JUMP_SIZE, type Window } from "./window.ts";

/** Patched code as it will stand in memory. */
export interface Written {
  readonly window: Window;
  /** Address of the stub. */
  readonly address: number;
  /** The bytes over the window. */
  readonly over: Uint8Array;
  /** The stub's bytes. */
  readonly code: Uint8Array;
}

/**
 * Whether the window is a jump to the stub, the stub does what the window did
 * and goes back behind it, and nothing else in the function jumps into the
 * window.
 */
export function isConfirmed(written: Written, writer: StubWriter): boolean {
  const { window, address, over, code } = written;
  return (
    over.length === window.end - window.start &&
    reading(over, window.start, (read) => jumpsThere(read, address, window)) &&
    reading(code, address, (read) => standsFor(read, window, writer)) &&
    isLeftAlone(window)
  );
}

/** The first instruction leads to the stub, the others do nothing, but for the site if it stays. */
function jumpsThere(read: readonly Instruction[], stub: number, window: Window): boolean {
  const { Code } = iced();
  const [jump, ...others] = read;
  const last = others.at(-1);
  const { site, keepsSite } = window;
  if (keepsSite && (last?.code !== Code.Syscall || Number(last.ip) !== site.address)) return false;
  const rest = keepsSite ? others.slice(0, -1) : others;
  const isJump = jump?.code === Code.Jmp_rel32_64 && Number(jump.nearBranchTarget) === stub;
  return isJump && rest.every(({ code }) => code === Code.Nopd);
}

/** The stub is what was moved, the call between its two parts, and the way back. */
function standsFor(stub: readonly Instruction[], window: Window, writer: StubWriter): boolean {
  const callAt = window.before.length;
  const afterAt = callAt + writer.callLength;
  const backAt = afterAt + window.after.length;
  const next = stub[afterAt];
  const resume = next ? Number(next.ip) : window.end;
  return (
    isSameCode(window, window.before, stub.slice(0, callAt)) &&
    writer.isCall(window.site.kind, stub.slice(callAt, afterAt), resume) &&
    isSameCode(window, window.after, stub.slice(afterAt, backAt)) &&
    isWayBack(window, stub.slice(backAt))
  );
}

/** Behind instructions that were moved a jump goes on; without any the call itself returns there. */
function isWayBack(window: Window, rest: readonly Instruction[]): boolean {
  const [jump, ...others] = rest;
  if (!jump) return window.after.length === 0 || !window.returns;
  const isJump = jump.code === iced().Code.Jmp_rel32_64 && Number(jump.nearBranchTarget) === window.end;
  return isJump && window.returns && others.length === 0;
}

function isSameCode(window: Window, addresses: readonly number[], moved: readonly Instruction[]): boolean {
  if (moved.length !== addresses.length) return false;
  return addresses.every((address, index) => {
    const original = window.site.region.decode(address);
    const copy = moved[index];
    const same = copy !== undefined && (original.equals(copy) || isSameBranch(original, copy));
    original.free();
    return same;
  });
}

/** Short branches become near ones when they move. */
function isSameBranch(original: Instruction, copy: Instruction): boolean {
  const branches = [original, copy].every((each) => each.isJccShortOrNear || each.isJmpShortOrNear);
  return (
    branches && original.mnemonic === copy.mnemonic && original.nearBranchTarget === copy.nearBranchTarget
  );
}

/** The window is whole instructions, and nothing jumps into it. */
function isLeftAlone({ site, start, end }: Window): boolean {
  const { region } = site;
  let at = start;
  region.follow(start, (instruction) => {
    at += instruction.length;
    return at < end;
  });
  let alone = at === end && end - start >= JUMP_SIZE;
  for (let address = start + 1; address < end; address++) alone &&= !region.isTarget(address);
  return alone;
}

/** What `use` says of all instructions of some bytes. */
function reading(
  bytes: Uint8Array,
  address: number,
  use: (read: readonly Instruction[]) => boolean,
): boolean {
  const { Decoder, DecoderOptions } = iced();
  const decoder = new Decoder(64, bytes, DecoderOptions.None);
  decoder.ip = BigInt(address);
  const read: Instruction[] = decoder.decodeAll();
  decoder.free();
  try {
    return use(read);
  } finally {
    for (const instruction of read) instruction.free();
  }
}
