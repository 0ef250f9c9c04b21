/** Runtimes that have a profile, known by the names of their programs. */

import { readFileSync } from "node:fs";
import type { AppObject } from "./derive.ts";
import { type Profile, readProfile, type StoredProfile } from "./profile.ts";

const RUNTIMES: readonly { readonly program: RegExp; readonly profiles: readonly string[] }[] = [
  // Which release it is does not show in the name, and they differ by little.
  { program: /^node$/, profiles: ["node-22", "node-24", "node-26"] },
  { program: /^bun$/, profiles: ["bun"] },
  { program: /^python3(\.\d+)?$/, profiles: ["python"] },
];

/** Profiles of the runtimes among the objects of an image: known by their names, or built into a program. */
export function profilesOf(objects: readonly AppObject[]): Profile[] {
  const names = new Set(objects.map(({ path }) => path.slice(path.lastIndexOf("/") + 1)));
  const named = RUNTIMES.filter(({ program }) => [...names].some((name) => program.test(name)));
  const builtIn = new Set(objects.flatMap(({ summary }) => summary.runtime ?? []));
  return [...named.flatMap(({ profiles }) => profiles), ...builtIn].map((name) => loadProfile(name));
}

/** Reads a profile of the tree. */
export function loadProfile(name: string): Profile {
  const path = new URL(`../profiles/${name}.json`, import.meta.url);
  // Written by tools/record-profiles.ts alone.
  return readProfile(JSON.parse(readFileSync(path, "utf8")) as StoredProfile);
}
