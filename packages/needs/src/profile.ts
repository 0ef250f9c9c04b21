/** What the test programs of a runtime used, recorded once and kept in the tree. */

import { callNumber } from "./calls.ts";

/** A profile: what was used, and the program that used it first. */
export interface Profile {
  /** For people: "node 24". */
  readonly name: string;
  readonly calls: readonly (readonly [number: number, program: string])[];
  readonly services: readonly (readonly [name: string, program: string])[];
}

/** A profile as its file keeps it: names instead of numbers. */
export interface StoredProfile {
  readonly name: string;
  readonly calls: Readonly<Record<string, string>>;
  readonly services: Readonly<Record<string, string>>;
}

/** Reads a stored profile. */
export function readProfile(stored: StoredProfile): Profile {
  const calls = Object.entries(stored.calls).map(([name, program]) => {
    const number = callNumber(name) ?? Number(/^call-(\d+)$/.exec(name)?.[1]);
    if (!Number.isInteger(number))
      throw new Error(`the profile ${stored.name} names an unknown call: ${name}`);
    return [number, program] as const;
  });
  return { name: stored.name, calls, services: Object.entries(stored.services) };
}
