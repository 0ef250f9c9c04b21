/** V8's heap, made ready for a copy: what it would do later, every copy would do. */

import { setFlagsFromString } from "node:v8";

/**
 * Some seconds after a program has become idle V8 collects its whole heap, twice. In a
 * machine that goes on from a copy that time is over at once, and memory that it shared
 * with others would become its own: it does without.
 */
const REDUCTIONS = "--memory-reducer-gc-count";
/** Of every release so far. */
const USUAL_REDUCTIONS = 2;

type Collect = (options: { type: "minor" }) => void;

/** Flags are of the process: a thread that does the same may take this one back in between. */
const ATTEMPTS = 100;

/** There from the start where the app has asked for it with `--expose-gc`. */
let collect = (globalThis as { gc?: Collect }).gc;

/**
 * Before a copy. Collects the young generation: no machine that is made from the copy has
 * to do that during its first requests.
 */
export function restHeap(): void {
  for (let attempt = 0; collect === undefined && attempt < ATTEMPTS; attempt++) collect = exposedCollect();
  collect?.({ type: "minor" });
  setFlagsFromString(`${REDUCTIONS}=0`);
}

/** The machine that was copied runs on. */
export function wakeHeap(): void {
  setFlagsFromString(`${REDUCTIONS}=${USUAL_REDUCTIONS}`);
}

/** V8 gives its own `gc` to contexts that are made while it is exposed; the app's has none. */
function exposedCollect(): Collect | undefined {
  setFlagsFromString("--expose-gc");
  try {
    return process.getBuiltinModule("node:vm").runInNewContext("globalThis.gc") as Collect | undefined;
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}
