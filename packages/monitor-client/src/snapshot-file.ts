/** What a snapshot file says about itself, as the monitor reads it. */

import { execFileSync } from "node:child_process";
import { closeSync, openSync, readSync } from "node:fs";
import { sporeError } from "@spore/errors";
import type { JsonObject } from "./json.ts";

/** First bytes of a snapshot. */
const MAGIC = "SPORSNAP";

/** What `--inspect` prints. */
export interface SnapshotFacts {
  /** Version of the file format. */
  readonly version: number;
  /** How many freezes lie between the boot and this snapshot. */
  readonly generation: number;
  /** Digest of the image it was taken of. */
  readonly image: string;
  /** SHA-256 of the library OS it was taken with. */
  readonly kernel: string;
  /** Bytes of guest memory. */
  readonly memory: number;
  /** Length of the file. */
  readonly bytes: number;
  /** Pages of 4 KiB in it. */
  readonly pages: number;
  /** Frames of 2 MiB that have pages in it. */
  readonly frames: number;
  /** When it was taken: milliseconds since 1970. */
  readonly frozenAt: number;
  /** Bytes of the recorded working set; 0: none was recorded. */
  readonly workingSetBytes: number;
  /** Checksum of the processor features that the guest has seen. */
  readonly cpuFeaturesChecksum: string;
  /** Sockets of the guest. */
  readonly devices: JsonObject | null;
  /** What whoever took it has noted. */
  readonly about: JsonObject | null;
  /** Every page was read and is as it was written. */
  readonly verified: boolean;
}

/** True if the file begins like a snapshot. */
export function isSnapshot(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return false;
  }
  try {
    const start = Buffer.alloc(MAGIC.length);
    readSync(fd, start, 0, start.length, 0);
    return start.toString("latin1") === MAGIC;
  } catch {
    // A directory.
    return false;
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads what a snapshot holds; with `verify`, every byte of it. Throws
 * SPORE_SNAPSHOT_DAMAGED or SPORE_SNAPSHOT_FOREIGN.
 */
export function inspectSnapshot(monitor: string, path: string, verify = false): SnapshotFacts {
  try {
    const text = execFileSync(monitor, [verify ? "--verify" : "--inspect", path], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    return JSON.parse(text) as SnapshotFacts;
  } catch (cause) {
    const said = String((cause as { stderr?: unknown }).stderr ?? "");
    const match = /error\[(SPORE_SNAPSHOT_\w+)\]: snapshot .* (?:is damaged|does not fit): (.*) — /.exec(
      said,
    );
    const code =
      match?.[1] === "SPORE_SNAPSHOT_FOREIGN" ? "SPORE_SNAPSHOT_FOREIGN" : "SPORE_SNAPSHOT_DAMAGED";
    const problem = match?.[2] ?? (said.trim() || String(cause));
    throw sporeError(code, { file: path, problem }, { cause });
  }
}
