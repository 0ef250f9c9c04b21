/** Computes an image and hands it out in pieces. */
import { ErofsError } from "./error.ts";
import { BLOCK } from "./format.ts";
import { type ImageFacts, layOutMetadata, writeMetadata } from "./metadata.ts";
import { buildNodes, type Node } from "./nodes.ts";
import { placeContent, type Run } from "./placement.ts";
import type { ContentPart, ImageOptions, ImagePlan, PlacedRange, TreeEntry } from "./tree.ts";

/** Written pieces start at multiples of this: that is what makes files of large pages. */
const PIECE = 2 << 20;
const MOST_BLOCKS = 2 ** 32 - 1;

/**
 * Lays an image out. The entries may come in any order; parents that are not
 * listed become directories with mode 0755. Throws ErofsError `bad-input`.
 */
export function planImage(entries: readonly TreeEntry[], options: ImageOptions = {}): ImagePlan {
  const nodes = buildNodes(entries, options);
  const facts = factsOf(options);
  const metadata = layOutMetadata(nodes, mayBeScattered);
  const { runs, end } = placeContent(nodes, metadata.length / BLOCK);
  if (end > MOST_BLOCKS) throw new ErofsError("bad-input", "the files are too large for one image");
  const byNode = new Map<Node, Run[]>();
  for (const run of runs) byNode.set(run.node, [...(byNode.get(run.node) ?? []), run]);
  for (const list of byNode.values()) list.sort((a, b) => a.page - b.page || a.block - b.block);
  const table = writeMetadata(metadata, (node) => byNode.get(node) ?? [], { ...facts, blocks: end });
  const byPath = new Map(nodes.map((node) => [node.path, node]));
  const rangesOf = (path: string): PlacedRange[] => {
    const node = byPath.get(path);
    if (node?.entry.type !== "file") throw new ErofsError("not-found", `no file ${path} in the image`);
    return (byNode.get(node) ?? []).map(rangeOf);
  };
  return {
    size: end * BLOCK,
    metadataLength: metadata.length,
    rangesOf,
    offsetOf(path) {
      const [range, ...more] = rangesOf(path);
      if (!range || more.length > 0) {
        throw new ErofsError("wrong-kind", `${path} is not in one piece in the image`);
      }
      return range.imageOffset;
    },
    write: (sink) => writePieces(table, runs, end * BLOCK, sink),
  };
}

/** Several ranges, or one that leaves a part out, need a chunk map. */
function mayBeScattered(node: Node): boolean {
  const placement = node.entry.type === "file" ? (node.entry.placement ?? []) : [];
  const [only, ...more] = placement;
  if (!only || node.contentSize === 0) return false;
  const pages = Math.ceil((only.offset + only.length) / BLOCK);
  return more.length > 0 || only.offset >= BLOCK || pages < Math.ceil(node.contentSize / BLOCK);
}

function rangeOf(run: Run): PlacedRange {
  const offset = run.page * BLOCK;
  const length = Math.min(run.pages * BLOCK, run.node.contentSize - offset);
  return { offset, length, imageOffset: run.block * BLOCK };
}

function factsOf(options: ImageOptions): Omit<ImageFacts, "blocks"> {
  const mtime = options.mtime ?? 0;
  const uuid = options.uuid ?? new Uint8Array(16);
  const volumeName = new TextEncoder().encode(options.volumeName ?? "");
  if (!Number.isSafeInteger(mtime) || mtime < 0) throw new ErofsError("bad-input", "invalid mtime");
  if (uuid.length !== 16) throw new ErofsError("bad-input", "a UUID has 16 bytes");
  if (volumeName.length > 15) throw new ErofsError("bad-input", "the volume name is too long");
  return { mtime, uuid, volumeName };
}

/** Fills one buffer after the other and hands each out once it is complete. */
function writePieces(
  metadata: Uint8Array,
  runs: readonly Run[],
  size: number,
  sink: (offset: number, bytes: Uint8Array) => void,
): void {
  const piece = new Uint8Array(Math.min(PIECE, size));
  const ordered = [...runs].sort((a, b) => a.block - b.block);
  let next = 0;
  for (let start = 0; start < size; start += PIECE) {
    const end = Math.min(start + PIECE, size);
    piece.fill(0);
    if (start < metadata.length) piece.set(metadata.subarray(start, Math.min(end, metadata.length)));
    for (let index = next; index < ordered.length; index++) {
      const run = ordered[index];
      if (!run || run.block * BLOCK >= end) break;
      const { offset, length, imageOffset } = rangeOf(run);
      const from = Math.max(start, imageOffset);
      const to = Math.min(end, imageOffset + length);
      if (from < to) {
        copyContent(run.node, offset + from - imageOffset, piece.subarray(from - start, to - start));
      }
      if ((run.block + run.pages) * BLOCK <= end) next = index + 1;
    }
    sink(start, piece.subarray(0, end - start));
  }
}

/** Copies file bytes from `offset` on into `target`. */
function copyContent(node: Node, offset: number, target: Uint8Array): void {
  const parts: readonly ContentPart[] = node.entry.type === "file" ? node.entry.content : [];
  let at = 0;
  for (const part of parts) {
    const from = Math.max(offset, at);
    const to = Math.min(offset + target.length, at + part.length);
    if (from < to) {
      const bytes =
        part instanceof Uint8Array
          ? part.subarray(from - at, to - at)
          : readPart(node, part.read(from - at, to - from), to - from);
      target.set(bytes, from - offset);
    }
    at += part.length;
  }
}

function readPart(node: Node, bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes;
  throw new ErofsError("bad-input", `${JSON.stringify(node.path)} changed while it was read`);
}
