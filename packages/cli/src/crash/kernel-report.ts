/** Where the library OS stopped, in words: for whoever mends it. */

import type { KernelStop } from "./crash.ts";
import { KernelSymbols } from "./kernel-symbols.ts";

/** So many callers are named. */
const CALLERS = 16;

/** The lines of a report; the error itself is the monitor's to print. */
export function kernelReport({ problem, rip, stack, kernel }: KernelStop): readonly string[] {
  const symbols = new KernelSymbols(kernel);
  const where = (address: bigint, kind?: "return"): string =>
    `0x${address.toString(16)}  ${symbols.name(address, kind) ?? "(no symbols of this library OS are here)"}`;
  const named = [...problem.matchAll(/0x[0-9a-f]{1,16}/g)].map(([text]) => BigInt(text));
  const callers = stack.filter((address) => symbols.isBehindCall(address)).slice(0, CALLERS);
  return [
    "spore: the library OS stopped; functions on its stack, some of them maybe left from before:",
    ...named.filter((address) => symbols.has(address)).map((address) => `  at   ${where(address)}`),
    ...(symbols.has(rip) ? [`  in   ${where(rip)}`] : []),
    ...callers.map((address) => `  from ${where(address, "return")}`),
  ];
}
