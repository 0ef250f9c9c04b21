/** What a snapshot file says about itself, as the monitor reads it. */

import { execFileSync } from "node:child_process";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { sporeError } from "@spore/errors";
import type { JsonObject } from "./json.ts";

/** First bytes of a snapshot. */
const MAGIC = "SPORSNAP";
/** Bytes of a header. */
const HEADER = 4096;
/** Version of the format, which `docs/internals/snapshot.md` lays out. */
const VERSION = 3;
/** Where the header says how many bytes of pages there are. */
const CONTENT_AT = 40;
/** Where the header says where the name of the base is. */
const BASE_AT = 320 + 6 * 24;
/** Longest name of a file. */
const NAME_MOST = 255;

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
  /** Pages of 4 KiB that are not zero. */
  readonly pages: number;
  /** How many of them are the image's own. */
  readonly imagePages: number;
  /** How many are made of the base's. */
  readonly basePages: number;
  /** The snapshot in the same folder that it is made on. */
  readonly base: string | null;
  /** Frames of 2 MiB that have pages in it. */
  readonly frames: number;
  /** When it was taken: milliseconds since 1970. */
  readonly frozenAt: number;
  /** Pages that the first request after a restore uses, and writes to; 0: not recorded. */
  readonly workingSet: { readonly used: number; readonly written: number };
  /** Checksum of the processor features that the guest has seen. */
  readonly cpuFeaturesChecksum: string;
  /** Sockets of the guest. */
  readonly devices: JsonObject | null;
  /** What whoever took it has noted. */
  readonly about: JsonObject | null;
  /** Every page was read and is as it was written. */
  readonly verified: boolean;
}

/** True if the file begins like a snapshot, or ends like one: its header stands there twice. */
export function isSnapshot(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return false;
  }
  try {
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(MAGIC.length);
    return [0, size - HEADER].some((at) => {
      if (at < 0) return false;
      readSync(fd, bytes, 0, bytes.length, at);
      return bytes.toString("latin1") === MAGIC;
    });
  } catch {
    // A directory.
    return false;
  } finally {
    closeSync(fd);
  }
}

/** What is needed to decide where a snapshot may stand and what goes with it. */
export interface SnapshotHead {
  /** Bytes of memory that a machine made of it has at once. */
  readonly content: number;
  /** Name of the file in the same folder that it is made on. */
  readonly base: string | null;
}

/** Reads that without checking anything; null: it is no snapshot of this version. */
export function snapshotHead(path: string): SnapshotHead | null {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const head = Buffer.alloc(HEADER);
    readSync(fd, head, 0, HEADER, 0);
    if (head.toString("latin1", 0, MAGIC.length) !== MAGIC || head.readUInt32LE(8) !== VERSION) return null;
    const name = Buffer.alloc(Math.min(Number(head.readBigUInt64LE(BASE_AT + 8)), NAME_MOST));
    readSync(fd, name, 0, name.length, Number(head.readBigUInt64LE(BASE_AT)));
    return { content: Number(head.readBigUInt64LE(CONTENT_AT)), base: name.toString() || null };
  } catch {
    return null;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Reads what a snapshot holds; with `verify`, every byte of it. Throws
 * SPORE_SNAPSHOT_DAMAGED or SPORE_SNAPSHOT_FOREIGN.
 */
export function inspectSnapshot(monitor: string, path: string, verify = false): SnapshotFacts {
  return JSON.parse(ask(monitor, verify ? "--verify" : "--inspect", path)) as SnapshotFacts;
}

/**
 * What whoever took a snapshot has noted. The notes stand in the file twice, so that a
 * damaged snapshot still says what to boot instead. Throws SPORE_SNAPSHOT_DAMAGED or
 * SPORE_SNAPSHOT_FOREIGN.
 */
export function snapshotNotes(monitor: string, path: string): JsonObject | null {
  return JSON.parse(ask(monitor, "--about", path)) as JsonObject | null;
}

function ask(monitor: string, what: string, path: string): string {
  try {
    return execFileSync(monitor, [what, path], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
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
