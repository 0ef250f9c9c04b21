/** What the doctor looks at. Tests give a machine of their own. */

import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";

/** Questions about a machine. */
export interface Machine {
  /** The text of a file; undefined if it cannot be read. */
  readonly read: (path: string) => string | undefined;
  readonly exists: (path: string) => boolean;
  /** Whether access() permits this process to read and write it. */
  readonly writable: (path: string) => boolean;
  readonly executable: (path: string) => boolean;
  /** First line of what a command prints; undefined if it cannot be run. */
  readonly ask: (command: string, ...args: readonly string[]) => string | undefined;
  readonly nodeVersion: string;
}

/** This machine. */
export const thisMachine: Machine = {
  read: (path) => attempt(() => readFileSync(path, "utf8")),
  exists: existsSync,
  writable: (path) => permits(path, constants.R_OK | constants.W_OK),
  executable: (path) => permits(path, constants.X_OK),
  ask: (command, ...args) =>
    attempt(() =>
      execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    )?.split("\n")[0],
  nodeVersion: process.versions.node,
};

function permits(path: string, mode: number): boolean {
  return attempt(() => accessSync(path, mode) ?? true) ?? false;
}

function attempt<T>(question: () => T): T | undefined {
  try {
    return question();
  } catch {
    // Not there, not permitted, not runnable: the answer is "unknown" in each case.
    return undefined;
  }
}
