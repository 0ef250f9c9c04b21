/**
 * V8 takes a program that was frozen for one that was idle, and collects all garbage at
 * once: in every machine made from a copy, in the middle of the first request, and writing
 * to most of the heap's pages. It must wait until the machine has been awake for a while,
 * as it would have without the freeze.
 */

import { setFlagsFromString } from "node:v8";

/** How long a machine has nothing to do with that after a restore. */
const AWAKE_MS = 1000;

/** Before a copy is made. */
export function dontCollect(): void {
  setFlagsFromString("--no-incremental-marking");
}

/** The machine that was frozen runs on. */
export function collectAgain(): void {
  setFlagsFromString("--incremental-marking");
}

/** This machine was made from a copy. */
export function collectLater(): void {
  setTimeout(collectAgain, AWAKE_MS).unref();
}
