/** What tracing files showed, kept in the store until one of them changes. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writeRecord } from "./atomic-file.ts";
import { addBuilderSources, fingerprint, Inputs, recordKey } from "./build-record.ts";
import type { Store } from "./store.ts";

/** What is kept. */
interface Memory {
  readonly inputs: readonly (readonly [path: string, seen: string])[];
  /** What JSON keeps; only what wrote it reads it. */
  readonly result: unknown;
}

/**
 * The result of `trace`, from the last time if nothing has changed since. `key` names the question;
 * `trace` notes every path that the answer depends on.
 */
export async function remembered<T>(
  store: Store,
  key: unknown,
  trace: (inputs: Inputs) => Promise<T>,
): Promise<T> {
  const path = join(store.traces, `${recordKey(key)}.json`);
  const known = readMemory(path);
  if (known?.inputs.every(([input, seen]) => fingerprint(input) === seen)) return known.result as T;
  const inputs = new Inputs();
  addBuilderSources(inputs);
  const result = await trace(inputs);
  // Written while it was read, a file may hold something else by now.
  if (!inputs.moved) {
    const memory: Memory = { inputs: inputs.entries(), result };
    writeRecord(path, store.tmp, memory);
  }
  return result;
}

function readMemory(path: string): Memory | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Memory;
  } catch {
    return null;
  }
}
