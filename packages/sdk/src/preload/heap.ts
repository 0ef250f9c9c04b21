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

let collect: Collect | undefined;

/**
 * Before a copy. Collects the young generation: no machine that is made from the copy has
 * to do that during its first requests.
 */
export function restHeap(): void {
  collect ??= exposedCollect();
  collect({ type: "minor" });
  setFlagsFromString(`${REDUCTIONS}=0`);
}

/** The machine that was copied runs on. */
export function wakeHeap(): void {
  setFlagsFromString(`${REDUCTIONS}=${USUAL_REDUCTIONS}`);
}

/** V8 gives its own `gc` to contexts that are made while it is exposed; the app's has none. */
function exposedCollect(): Collect {
  const { runInNewContext } = require("node:vm") as typeof import("node:vm");
  setFlagsFromString("--expose-gc");
  try {
    return runInNewContext("gc") as Collect;
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}
