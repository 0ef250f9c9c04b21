/** What tracing files showed, kept in the store until one of them changes. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writeRecord } from "./atomic-file.ts";
import { addBuilderSources, Inputs, recordKey } from "./build-record.ts";
import type { Store } from "./store.ts";

/** What is kept. */
interface Memory {
  readonly inputs: readonly (readonly [path: string, seen: string])[];
  /** What JSON keeps; only what wrote it reads it. */
  readonly result: unknown;
}

/**
 * The result of `trace`, from the last time if nothing has changed since. `key` names the question;
 * `trace` notes every path that the answer depends on. They are noted in `inputs` too.
 */
export async function remembered<T>(
  store: Store,
  key: unknown,
  trace: (seen: Inputs) => Promise<T>,
  inputs: Inputs = new Inputs(),
): Promise<T> {
  const path = join(store.traces, `${recordKey(key)}.json`);
  const known = readMemory(path);
  if (known?.inputs.every(([input, seen]) => inputs.add(input) === seen)) return known.result as T;
  const traced = new Inputs();
  addBuilderSources(traced);
  const result = await trace(traced);
  // Written while it was read, a file may hold something else by now.
  if (!traced.moved) {
    const memory: Memory = { inputs: traced.entries(), result };
    writeRecord(path, store.tmp, memory);
  }
  for (const [input] of traced.entries()) inputs.add(input);
  return result;
}

function readMemory(path: string): Memory | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Memory;
  } catch {
    return null;
  }
}
