/** What an app used while something exercised it: recorded once, kept as a file, used by later builds. */

import { callName, callNumber } from "./calls.ts";
import { Collection } from "./collection.ts";
import { serviceOfFamily } from "./families.ts";
import { nameOfMadeUpFile } from "./made-up-files.ts";
import type { Needs, Reason, SiteCount } from "./types.ts";

/** What the library OS counted during one run. */
export interface Used {
  /** How often each call was made, by number. */
  readonly calls: Readonly<Record<string, number>>;
  /** Families of sockets that were asked for. */
  readonly families: readonly number[];
  /** Names below /proc, /sys and /dev that were given to calls. */
  readonly files: readonly string[];
  /** False: there were more names than found room. */
  readonly complete: boolean;
}

/** A recording as its file keeps it. */
export interface Recording {
  readonly version: 1;
  /** What exercised the app. */
  readonly command: string;
  /** How often each call was made, by name. */
  readonly calls: Readonly<Record<string, number>>;
  readonly services: readonly string[];
}

/** Names instead of numbers, in a fixed order. */
export function makeRecording(command: string, used: Used): Recording {
  const calls = Object.entries(used.calls)
    .map(([number, count]) => [Number(number), count] as const)
    .sort(([a], [b]) => a - b);
  const services = new Set<string>(used.complete ? [] : ["file/*"]);
  for (const family of used.families) {
    const service = serviceOfFamily(family);
    if (service !== undefined) services.add(service);
  }
  for (const file of used.files) {
    const name = nameOfMadeUpFile(file);
    if (name !== undefined) services.add(`file${name}`);
  }
  return {
    version: 1,
    command,
    calls: Object.fromEntries(calls.map(([number, count]) => [callName(number), count])),
    services: [...services].sort(),
  };
}

/** Reads the text of a recording; undefined if it is none. */
export function readRecording(text: string): Recording | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { version, command, calls, services } = value as Partial<Recording>;
  const isSound =
    version === 1 &&
    typeof command === "string" &&
    typeof calls === "object" &&
    calls !== null &&
    Object.entries(calls).every(
      ([name, count]) => numberOf(name) !== undefined && Number.isSafeInteger(count),
    ) &&
    Array.isArray(services) &&
    services.every((service) => typeof service === "string");
  return isSound ? (value as Recording) : undefined;
}

/** rt_sigreturn, exit, exit_group: a run that was stopped need not have got there. */
const ALWAYS: readonly number[] = [15, 60, 231];

/** What was used is what is needed. */
export function recordedNeeds(recording: Recording, sites: readonly SiteCount[]): Needs {
  const collection = new Collection();
  const by = (count: number): Reason => ({ kind: "recording", command: recording.command, count });
  for (const [name, count] of Object.entries(recording.calls)) {
    const number = numberOf(name);
    if (number !== undefined) collection.call(number, by(count));
  }
  for (const number of ALWAYS) {
    collection.call(number, { kind: "flag", flag: "every program ends and comes back from signals" });
  }
  for (const service of recording.services) collection.service(service, by(1));
  return collection.needs("recorded", sites);
}

function numberOf(name: string): number | undefined {
  const unnamed = /^call-(\d+)$/.exec(name)?.[1];
  return unnamed === undefined ? callNumber(name) : Number(unnamed);
}
