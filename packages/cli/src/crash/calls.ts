/** System calls as strace prints them, as far as numbers tell. */

import { constants } from "node:os";
import { systemCalls } from "@spore/needs";
import type { Call } from "./crash.ts";

const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));
const byNumber = new Map(systemCalls.map(([number, name, arity]) => [number, { name, arity }]));

/** "openat(-100, 0x7ffd…, 0x80000, 0) = -1 ENOENT". */
export function formatCall(call: Call): string {
  const known = byNumber.get(call.number);
  const name = known?.name ?? `syscall_${call.number}`;
  const args = call.args.slice(0, known?.arity ?? 6).map(formatArgument);
  return `${name}(${args.join(", ")}) = ${call.unfinished ? "?" : formatResult(call.result)}`;
}

/** Small numbers as numbers, negative ones too; everything else may be an address. */
function formatArgument(value: bigint): string {
  const signed = BigInt.asIntN(64, value);
  const narrow = BigInt.asIntN(32, value);
  if (signed >= -4096n && signed < 65536n) return String(signed);
  // A descriptor or flag word of 32 bits: AT_FDCWD is -100.
  if (value < 2n ** 32n && narrow < 0n && narrow >= -4096n) return String(narrow);
  return `0x${value.toString(16)}`;
}

function formatResult(result: number): string {
  if (result < 0 && result >= -4095) return `-1 ${errnoNames.get(-result) ?? `errno ${-result}`}`;
  return Math.abs(result) < 2 ** 20
    ? String(result)
    : `0x${BigInt.asUintN(64, BigInt(Math.trunc(result))).toString(16)}`;
}
