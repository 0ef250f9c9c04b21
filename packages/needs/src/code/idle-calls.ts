/** System calls in the code that no program makes here, or that change nothing while it is alone. */

import { type ElfFile, SegmentFlag } from "@spore/elf";
import { type Departure, type Followed, isNumber } from "./flow.ts";
import { Register } from "./value.ts";

const OPEN = 2;
const POLL = 7;
const FUTEX = 202;
const FUTEX_WAKE = 1;
const PRIVATE_WAKE = 129;
const NULL_DEVICE = "/dev/null\0";

/**
 * Places where a C library looks whether the standard streams are open before a program starts with the
 * rights of somebody else (musl: __init_libc). Nobody is somebody else here: AT_SECURE is 0, and the ids
 * are the same. Known by what it does: poll of 3 descriptors without waiting, and open of /dev/null.
 */
export function callsOfPrivilegedStart(elf: ElfFile, { departures }: Followed): ReadonlySet<number> {
  const calls = departures.filter(({ kind }) => kind === "syscall");
  const polls = calls.filter(
    (each) =>
      isCall(each, POLL) &&
      isNumber(each.state.registers[Register.rsi], 3) &&
      isNumber(each.state.registers[Register.rdx], 0),
  );
  const opens = calls.filter((each) => isCall(each, OPEN) && isText(elf, each, NULL_DEVICE));
  const all = [...polls, ...opens];
  const isThat = polls.length === 1 && opens.length > 0 && all.length === calls.length;
  return new Set(isThat ? all.map(({ address }) => address) : []);
}

/** Whether a call can only wake somebody else, or wait for somebody: futex without a time to wait for. */
export function needsSomebodyElse(departure: Departure): boolean {
  if (departure.kind !== "syscall" || !isCall(departure, FUTEX)) return false;
  const { registers } = departure.state;
  const wakes = registers[Register.rsi]?.every((each) => each === FUTEX_WAKE || each === PRIVATE_WAKE);
  return wakes === true || isNumber(registers[Register.r10], 0);
}

function isCall({ state }: Departure, number: number): boolean {
  return isNumber(state.registers[Register.rax], number);
}

function isText(elf: ElfFile, { state }: Departure, text: string): boolean {
  const [address] = state.registers[Register.rdi] ?? [];
  if (typeof address !== "number" || state.registers[Register.rdi]?.length !== 1) return false;
  const load = elf.loads.find(({ flags, vaddr, fileSize }) => {
    return (flags & SegmentFlag.write) === 0 && address >= vaddr && address + text.length <= vaddr + fileSize;
  });
  if (!load) return false;
  const bytes = elf.view.slice(load.offset + address - load.vaddr, text.length, "a text");
  return new TextDecoder("latin1").decode(bytes) === text;
}
