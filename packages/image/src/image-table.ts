/** What an image file says of itself: header fields, the table as JSON, and the checks when it is read. */

import { HUGE, KERNEL_END, KERNEL_GPA, PAGE } from "./memory-map.ts";
import type { Blob, ImageDefaults, ProgramLayout } from "./types.ts";

/** First bytes of an image file. */
export const MAGIC = "SPOREIMG";
/** Version that this builder reads and writes. */
export const VERSION = 1;
/** No table comes near this; a length beyond it is damage. */
export const TABLE_LIMIT: number = 64 << 20;
/** Offsets in the header page. */
export const HEADER = {
  magic: 0,
  version: 8,
  tableOffset: 16,
  tableLength: 24,
  fileLength: 32,
  tableSha: 40,
  headerSha: 72,
};

/** A blob as the table names it: at `offset` in the same file, or null: in the store. */
export interface StoredBlob extends Blob {
  readonly offset: number | null;
}

/** What the table says. */
export interface StoredImage {
  readonly kind: "project" | "program";
  readonly name: string;
  readonly program: ProgramLayout;
  readonly defaults: ImageDefaults;
  readonly kernel: StoredBlob;
  readonly layers: readonly StoredBlob[];
}

/** The table as text: keys in a fixed order, padded with spaces to whole pages. */
export function tableText(image: StoredImage): string {
  const { kind, name, program, defaults, kernel, layers } = image;
  const env = Object.fromEntries(
    Object.entries(defaults.env).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
  );
  const { argv, args, cwd, memory, publish } = defaults;
  const ordered = {
    kind,
    name,
    kernel,
    layers,
    defaults: { argv, args, env, cwd, memory, publish },
    program,
  };
  const text = JSON.stringify(ordered);
  const length = Buffer.byteLength(text);
  return text + " ".repeat((PAGE - (length % PAGE)) % PAGE);
}

/** Reads a table; null if it is not one that this version writes. */
export function parseTable(text: string): StoredImage | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(value)) return null;
  const { kind, name, program, defaults, kernel, layers } = value;
  if (kind !== "project" && kind !== "program") return null;
  if (typeof name !== "string" || !Array.isArray(layers)) return null;
  if (!isBlob(kernel, "kernel") || !layers.every((layer) => isBlob(layer, "layer"))) return null;
  if (kernel.memoryLength > KERNEL_END - KERNEL_GPA) return null;
  if (!isDefaults(defaults) || !isProgram(program, layers)) return null;
  return { kind, name, program, defaults, kernel, layers };
}

function isBlob(value: unknown, kind: Blob["kind"]): value is StoredBlob {
  if (!isRecord(value) || value["kind"] !== kind || typeof value["name"] !== "string") return false;
  const numbers = [value["length"], value["memoryLength"], value["metadataLength"]];
  if (!numbers.every(isCount)) return false;
  if (Number(value["metadataLength"]) > Number(value["length"])) return false;
  if (!isDigest(value["sha256"]) || !isDigest(value["metadataSha256"])) return false;
  const offset = value["offset"];
  return offset === null || (isCount(offset) && offset % PAGE === 0);
}

function isDefaults(value: unknown): value is ImageDefaults {
  if (!isRecord(value)) return false;
  const { argv, args, env, cwd, memory, publish } = value;
  if (!isTexts(argv) || argv.length === 0 || !isTexts(args) || !isRecord(env)) return false;
  if (!Object.values(env).every((text) => typeof text === "string")) return false;
  if (typeof cwd !== "string" || !cwd.startsWith("/") || !isCount(memory)) return false;
  return publish === null || (Array.isArray(publish) && publish.every(isPublish));
}

function isPublish(value: unknown): boolean {
  if (!isRecord(value) || typeof value["address"] !== "string") return false;
  return (
    isCount(value["host"]) && value["host"] <= 65535 && isCount(value["guest"]) && value["guest"] <= 65535
  );
}

function isProgram(value: unknown, layers: readonly StoredBlob[]): value is ProgramLayout {
  if (!isRecord(value) || typeof value["path"] !== "string") return false;
  const addresses = ["startRip", "entry", "phdr", "phnum", "interpBase", "brkStart"];
  if (!addresses.every((name) => isCount(value[name]))) return false;
  const { mappings, shared, private: regions } = value;
  if (!Array.isArray(mappings) || !Array.isArray(shared) || !Array.isArray(regions)) return false;
  return (
    mappings.every(isMapping) &&
    shared.every((region) => isShared(region, layers)) &&
    regions.every((region) => isPrivate(region, layers))
  );
}

function isMapping(value: unknown): boolean {
  if (!isRecord(value) || typeof value["path"] !== "string") return false;
  return ["start", "end", "prot", "fileOffset"].every((name) => isCount(value[name]));
}

function isShared(value: unknown, layers: readonly StoredBlob[]): boolean {
  if (!isRecord(value)) return false;
  const { va, layer, offset, length } = value;
  if (!isFrame(va) || !isFrame(offset) || !isFrame(length) || !isCount(layer)) return false;
  const blob = layers[layer];
  return blob !== undefined && offset + length <= blob.length;
}

function isPrivate(value: unknown, layers: readonly StoredBlob[]): boolean {
  if (!isRecord(value)) return false;
  const { va, gpa, length, parts } = value;
  if (!isFrame(va) || !isFrame(gpa) || !isFrame(length) || !Array.isArray(parts)) return false;
  return parts.every((part) => {
    if (!isRecord(part)) return false;
    const { layer, offset, length: count, at } = part;
    if (!isCount(layer) || !isCount(offset) || !isCount(count) || !isCount(at)) return false;
    const blob = layers[layer];
    return blob !== undefined && offset + count <= blob.length && at + count <= length;
  });
}

function isFrame(value: unknown): value is number {
  return isCount(value) && value % HUGE === 0;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isDigest(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((text) => typeof text === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
