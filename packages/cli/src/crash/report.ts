/** A crash in words. */

import { sporeError } from "@spore/errors";
import { formatCall } from "./calls.ts";
import type { Crash } from "./crash.ts";
import { codeMeaning, hasAddress, signalMeaning, signalName } from "./signals.ts";
import { type Place, Symbolizer } from "./symbols.ts";

/** The lines of a report, the error line last. */
export function crashReport(crash: Crash): readonly string[] {
  const symbolizer = new Symbolizer(crash.modules, crash.layers, crash.kernel);
  const at = symbolizer.place(crash.rip);
  const stack = crash.stack.filter((address) => address !== crash.rip);
  const lines = [
    `spore: ${crash.program} was ended by ${what(crash)}`,
    `  at   ${where(crash.rip, at)}`,
    ...stack.map((address) => `  from ${where(address, symbolizer.place(address, "return"))}`),
    ...callLines(crash),
  ];
  const place =
    at === undefined ? where(crash.rip, at) : (at.symbol ?? hex(at.offset)).concat(` in ${at.module}`);
  const problem = `${what(crash)}, at ${place}`;
  const hint = hintFor(crash);
  const error = sporeError(
    "SPORE_GUEST_CRASH",
    { program: crash.program, problem },
    hint ? { next: hint } : {},
  );
  return [...lines.map(printable), error.line];
}

/** "SIGSEGV (invalid memory access) at address 0x0: nothing is mapped there". */
function what({ signal, code, address }: Crash): string {
  const meaning = signalMeaning(signal);
  const touched = hasAddress(signal, code) ? ` at address ${hex(address)}` : "";
  const reason = codeMeaning(signal, code);
  return `${signalName(signal)}${meaning && ` (${meaning})`}${touched}${reason && `: ${reason}`}`;
}

function where(address: bigint, place: Place | undefined): string {
  if (place === undefined)
    return `${hex(address)}  (outside of all files: code made at run time, or a wild jump)`;
  const symbol = place.symbol === undefined ? "" : `${place.symbol} `;
  return `${hex(address)}  ${symbol}in ${place.module}+${hex(place.offset)}`;
}

function callLines({ calls, tid }: Crash): readonly string[] {
  if (calls.length === 0) return [];
  const threads = new Set(calls.map((call) => call.tid)).size > 1 || calls.some((call) => call.tid !== tid);
  return [
    `  the last system calls, newest last${threads ? ` (the crash was in thread ${tid})` : ""}:`,
    ...calls.map((call) => `    ${threads ? `[${call.tid}] ` : ""}${formatCall(call)}`),
  ];
}

/** What usually leads to such a crash; undefined leaves it to the registry. */
function hintFor(crash: Crash): string | undefined {
  const name = signalName(crash.signal);
  const debug = "`--gdb PORT` lets gdb look";
  if (name === "SIGABRT") return `the program gave up by itself: its own message stands above; ${debug}`;
  if (name === "SIGILL")
    return `an instruction that this processor does not offer, or a deliberate trap; ${debug}`;
  if (!hasAddress(crash.signal, crash.code)) return undefined;
  if (crash.address < 65536n) return `a null pointer was used; ${debug}`;
  const stack = crash.registers["rsp"];
  const distance = stack === undefined ? undefined : crash.address - BigInt(stack);
  if (distance !== undefined && distance > -65536n && distance < 4096n) {
    return `the stack is probably exhausted by a recursion; ${debug}`;
  }
  return undefined;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** What the guest named cannot move the cursor or colour the terminal. */
function printable(line: string): string {
  return line.replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
