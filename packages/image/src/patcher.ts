/**
 * Rewrites the instructions that leave the guest in programs and libraries, and
 * keeps what came out: finding them takes a tenth of a second for a C library,
 * seconds for Node.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildId, parseElf } from "@spore/elf";
import { type PatchCounts, patchSyscalls } from "@spore/patch";
import { writeRecord } from "./atomic-file.ts";
import { guarded, readBinary } from "./program-file.ts";
import type { Store } from "./store.ts";
import type { Decision, PatchedObject } from "./types.ts";

/** What was found out about a file: enough to patch it again without looking. */
interface Known {
  readonly counts: PatchCounts;
  /** Length of the patched file. */
  readonly length: number;
  /** Bytes that differ from the original, in base64, and where. */
  readonly changes: readonly (readonly [offset: number, bytes: string])[];
}

/** Differences closer together than this are kept as one. */
const NEARBY = 16;
/** Pieces in which files are compared first. */
const PIECE = 4096;

/** Patches the files of one build, or leaves them as they are, and remembers the counts. */
export class Patcher {
  /** What was found, in order. */
  readonly objects: PatchedObject[] = [];
  readonly #store: Store | null;
  readonly #decisions: Decision[];

  /** `store` is null where nothing is to be patched. */
  constructor(store: Store | null, decisions: Decision[]) {
    this.#store = store;
    this.#decisions = decisions;
  }

  /** The patched bytes of a file of the host; undefined: it goes into the image as it is. */
  patch(host: string, guest: string, bytes: Uint8Array = readBinary(host)): Uint8Array | undefined {
    if (this.#store === null) return undefined;
    const path = guarded(host, () => recordPath(this.#store as Store, bytes));
    const known = readRecord(path) ?? look(host, bytes, path, this.#store);
    const { counts } = known;
    if (counts.syscall.sites + counts.cpuid.sites === 0) return undefined;
    this.objects.push({ object: guest, counts });
    this.#decisions.push({
      topic: "patch",
      what: `${guest}: ${said(counts)}`,
      why: "a jump into the library OS costs a hundredth of a trap",
    });
    return known.changes.length === 0 ? undefined : apply(bytes, known);
  }
}

/** The counts in words. */
function said({ syscall, cpuid }: PatchCounts): string {
  const parts = [
    ...(syscall.sites > 0 ? [`${syscall.patched} of ${syscall.sites} system calls`] : []),
    ...(cpuid.sites > 0 ? [`${cpuid.patched} of ${cpuid.sites} cpuid`] : []),
  ];
  const left = [...Object.entries(syscall.left), ...Object.entries(cpuid.left)].map(
    ([reason, count]) => `${count} ${reason}`,
  );
  return [parts.join(" and "), ...(left.length > 0 ? [`left: ${left.join(", ")}`] : [])].join("; ");
}

/**
 * Records go by build id, so that people recognise them, and by the very bytes,
 * since anybody can write any build id. Another patcher has others.
 */
function recordPath(store: Store, bytes: Uint8Array): string {
  const id = buildId(parseElf(bytes)) ?? "none";
  const hash = createHash("sha256").update(patcherVersion()).update(bytes).digest("hex");
  return join(store.patches, `${id.slice(0, 40)}-${hash}.json`);
}

let version: string | undefined;

/** The patcher's own sources: other ones may find something else. */
function patcherVersion(): string {
  if (version !== undefined) return version;
  const hash = createHash("sha256");
  for (const name of ["elf", "patch"]) {
    const folder = fileURLToPath(new URL(`../../${name}/src/`, import.meta.url));
    const sources = readdirSync(folder).filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));
    for (const file of sources.sort()) hash.update(file).update(readFileSync(join(folder, file)));
  }
  version = hash.digest("hex");
  return version;
}

function readRecord(path: string): Known | undefined {
  try {
    const known: unknown = JSON.parse(readFileSync(path, "utf8"));
    return typeof known === "object" && known !== null && "changes" in known ? (known as Known) : undefined;
  } catch {
    return undefined;
  }
}

function look(host: string, bytes: Uint8Array, path: string, store: Store): Known {
  const { bytes: patched, report } = guarded(host, () => patchSyscalls(bytes));
  const changes = patched === bytes ? [] : differences(bytes, patched);
  const known = { counts: report.counts, length: patched.length, changes };
  writeRecord(path, store.tmp, known);
  return known;
}

function differences(before: Uint8Array, after: Uint8Array): Known["changes"] {
  const [old, now] = [Buffer.from(before.buffer, before.byteOffset, before.length), Buffer.from(after)];
  const changes: [number, string][] = [];
  for (let piece = 0; piece < old.length; piece += PIECE) {
    const end = Math.min(piece + PIECE, old.length);
    if (old.compare(now, piece, end, piece, end) === 0) continue;
    for (let at = piece; at < end; at++) {
      if (old[at] === now[at]) continue;
      let last = at;
      for (let next = at; next < end && next <= last + NEARBY; next++)
        if (old[next] !== now[next]) last = next;
      changes.push([at, now.subarray(at, last + 1).toString("base64")]);
      at = last;
    }
  }
  if (now.length > old.length) changes.push([old.length, now.subarray(old.length).toString("base64")]);
  return changes;
}

function apply(bytes: Uint8Array, { length, changes }: Known): Uint8Array {
  const result = new Uint8Array(length);
  result.set(bytes);
  for (const [offset, text] of changes) result.set(Buffer.from(text, "base64"), offset);
  return result;
}
