/** System calls by number and name. */

import { systemCalls } from "./generated/system-calls.ts";

const names: ReadonlyMap<number, string> = new Map(systemCalls.map(([number, name]) => [number, name]));
const numbers: ReadonlyMap<string, number> = new Map(systemCalls.map(([number, name]) => [name, number]));

/** Linux's name of a system call; "call-N" for a number that has none. */
export function callName(number: number): string {
  return names.get(number) ?? `call-${number}`;
}

/** The number of a system call; undefined for a name that Linux does not know. */
export function callNumber(name: string): number | undefined {
  return numbers.get(name);
}
