/** Names and meanings of signals and their codes. Source: signal(7), sigaction(2). */

import { constants } from "node:os";

const names = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** Of two names for a number the usual one. */
const usual: Readonly<Record<number, string>> = { 6: "SIGABRT", 29: "SIGIO", 17: "SIGCHLD", 31: "SIGSYS" };

const meanings: Readonly<Record<string, string>> = {
  SIGSEGV: "invalid memory access",
  SIGBUS: "memory access that cannot be carried out",
  SIGILL: "illegal instruction",
  SIGFPE: "arithmetic error",
  SIGABRT: "abort",
  SIGTRAP: "breakpoint or trap",
  SIGSYS: "bad system call",
  SIGQUIT: "quit",
};

const codes: Readonly<Record<string, string>> = {
  "SIGSEGV 1": "nothing is mapped there",
  "SIGSEGV 2": "the mapping does not permit it",
  "SIGSEGV 128": "the address is not canonical, or the instruction is privileged",
  "SIGBUS 1": "wrong alignment",
  "SIGBUS 2": "beyond the end of the mapped file",
  "SIGILL 1": "unknown operation code",
  "SIGILL 2": "illegal operand",
  "SIGFPE 1": "integer division by zero",
  "SIGFPE 2": "integer overflow",
  "SIGFPE 3": "floating-point division by zero",
};

/** "SIGSEGV"; "signal 99" for a number without a name. */
export function signalName(signal: number): string {
  return usual[signal] ?? names.get(signal) ?? `signal ${signal}`;
}

/** "invalid memory access"; empty if there is nothing to say. */
export function signalMeaning(signal: number): string {
  return meanings[signalName(signal)] ?? "";
}

/** Why the signal came: "nothing is mapped there"; empty if si_code does not tell. */
export function codeMeaning(signal: number, code: number): string {
  if (code === 0 || code === -6) return "sent with kill() or raise()";
  return codes[`${signalName(signal)} ${code}`] ?? "";
}

/** Whether si_addr is an address that an instruction touched. */
export function hasAddress(signal: number, code: number): boolean {
  return ["SIGSEGV", "SIGBUS"].includes(signalName(signal)) && code > 0 && code !== 128;
}
