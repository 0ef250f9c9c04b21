/**
 * Where a program stands in guest memory at its first instruction.
 *
 * Loading follows Linux (fs/binfmt_elf.c): each PT_LOAD maps whole pages of the
 * file, later segments win, the rest of the last page of a segment with bss is
 * zeroed. The pages are then cut into 2 MiB frames: a frame that shows only
 * read-only bytes of one file, in one piece, is shared straight from the layer;
 * every other frame is assembled in private memory.
 */

import { alignDown, alignUp, FREE_GPA, HUGE, PAGE } from "./memory-map.ts";
import type { CopyPart, PrivateRegion, ProgramMapping, SharedRegion } from "./types.ts";

/** One PT_LOAD. */
export interface LoadSegment {
  readonly offset: number;
  readonly vaddr: number;
  readonly fileSize: number;
  readonly memorySize: number;
  /** PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4. */
  readonly prot: number;
}

/** A file that is loaded: the program or its interpreter. */
export interface LoadedFile {
  /** Guest path. */
  readonly path: string;
  readonly segments: readonly LoadSegment[];
  /** Added to every address. */
  readonly bias: number;
  readonly size: number;
  /** Index of the layer that holds the file. */
  readonly layer: number;
  /** Where its bytes lie in the layer; together they cover the file. */
  readonly ranges: readonly FileRange[];
}

/** A run of file bytes and where it lies in the layer. */
export interface FileRange {
  /** First byte in the file. */
  readonly offset: number;
  readonly length: number;
  /** Where that byte lies in the layer. */
  readonly imageOffset: number;
}

/** A range that must lie at `residue` modulo 2 MiB in the layer. */
export interface WantedRange {
  readonly offset: number;
  readonly length: number;
  readonly residue: number;
}

/** A run of pages of one kind. `copyEnd` ends the bytes that come from the file. */
interface Piece {
  start: number;
  end: number;
  readonly prot: number;
  readonly file: LoadedFile | null;
  /** Address minus offset in the file. */
  readonly delta: number;
  copyEnd: number;
}

/** Regions and mappings of everything that was loaded. */
export interface MemoryPlan {
  readonly shared: SharedRegion[];
  readonly private: PrivateRegion[];
  readonly mappings: ProgramMapping[];
  /** End of the first file's last page, bss included. */
  readonly end: number;
}

/** Frames that are worth a placement of their own in the layer. */
const SHARE_FROM_FRAMES = 2;

/**
 * Where a file wants to lie in its layer so that its read-only frames can be
 * mapped in place; empty if it has too few of them to care. A file whose
 * segments agree stays in one piece.
 */
export function wantedRanges(segments: readonly LoadSegment[], bias: number, size: number): WantedRange[] {
  const readOnly = segments.filter((segment) => (segment.prot & 2) === 0 && segment.fileSize > 0);
  const residueOf = (segment: LoadSegment): number => modulo(bias + segment.vaddr - segment.offset, HUGE);
  const worthwhile = new Set<number>();
  for (const residue of new Set(readOnly.map(residueOf))) {
    const ranges = [{ offset: 0, length: size, imageOffset: residue }];
    const frames = sharedFrames(piecesOf({ path: "", segments, bias, size, layer: 0, ranges }));
    if (frames.size >= SHARE_FROM_FRAMES) worthwhile.add(residue);
  }
  const [only] = worthwhile;
  if (only === undefined) return [];
  if (worthwhile.size === 1) return [{ offset: 0, length: size, residue: only }];
  const result: WantedRange[] = [];
  for (const segment of readOnly) {
    const residue = residueOf(segment);
    if (!worthwhile.has(residue)) continue;
    const offset = alignDown(segment.offset, PAGE);
    const end = Math.min(alignUp(segment.offset + segment.fileSize, PAGE), size);
    result.push({ offset, length: end - offset, residue: modulo(residue + offset, HUGE) });
  }
  return result;
}

/** Lays out the program (first) and its interpreter (second, if any). */
export function planMemory(files: readonly LoadedFile[]): MemoryPlan {
  const shared: SharedRegion[] = [];
  const regions: PrivateRegion[] = [];
  const mappings: ProgramMapping[] = [];
  let gpa = FREE_GPA;
  let end = 0;
  for (const [index, file] of files.entries()) {
    const pieces = piecesOf(file);
    const last = pieces.at(-1);
    if (index === 0 && last) end = last.end;
    const frames = sharedFrames(pieces);
    const sharing = frames.size >= SHARE_FROM_FRAMES ? frames : new Map<number, number>();
    for (const region of mergeShared(sharing, file.layer)) shared.push(region);
    for (const region of privateRegions(pieces, sharing, gpa)) {
      regions.push(region);
      gpa += region.length;
    }
    for (const piece of pieces) mappings.push(mappingOf(piece));
  }
  mappings.sort((a, b) => a.start - b.start);
  return { shared, private: regions, mappings: mergeMappings(mappings), end };
}

/** The pages of a file in ascending order, without overlaps. */
function piecesOf(file: LoadedFile): Piece[] {
  let pieces: Piece[] = [];
  for (const segment of file.segments) {
    if (segment.memorySize === 0) continue;
    const start = file.bias + segment.vaddr;
    const delta = start - segment.offset;
    const fileEnd = start + segment.fileSize;
    const hasBss = segment.memorySize > segment.fileSize;
    if (segment.fileSize > 0) {
      const end = alignUp(fileEnd, PAGE);
      const copyEnd = hasBss ? fileEnd : Math.min(end, delta + file.size);
      pieces = place(pieces, {
        start: alignDown(start, PAGE),
        end,
        prot: segment.prot,
        file,
        delta,
        copyEnd,
      });
    }
    const bssStart = segment.fileSize > 0 ? alignUp(fileEnd, PAGE) : alignDown(start, PAGE);
    const bssEnd = alignUp(start + segment.memorySize, PAGE);
    if (bssEnd > bssStart) {
      const bss = {
        start: bssStart,
        end: bssEnd,
        prot: segment.prot,
        file: null,
        delta: 0,
        copyEnd: bssStart,
      };
      pieces = place(pieces, bss);
    }
  }
  return pieces.sort((a, b) => a.start - b.start);
}

/** Puts a piece over the others, as MAP_FIXED does. */
function place(pieces: readonly Piece[], over: Piece): Piece[] {
  const result: Piece[] = [];
  for (const piece of pieces) {
    if (piece.end <= over.start || piece.start >= over.end) {
      result.push(piece);
      continue;
    }
    if (piece.start < over.start) {
      result.push({ ...piece, end: over.start, copyEnd: Math.min(piece.copyEnd, over.start) });
    }
    if (piece.end > over.end) {
      result.push({ ...piece, start: over.end, copyEnd: Math.max(piece.copyEnd, over.end) });
    }
  }
  result.push(over);
  return result;
}

/**
 * Frames that can be mapped from the layer: address -> offset in the layer.
 * Gaps between segments may show other bytes of the same file, nothing else.
 */
function sharedFrames(pieces: readonly Piece[]): Map<number, number> {
  const byFrame = new Map<number, Piece[]>();
  for (const piece of pieces) {
    for (let frame = alignDown(piece.start, HUGE); frame < piece.end; frame += HUGE) {
      const list = byFrame.get(frame);
      if (list) list.push(piece);
      else byFrame.set(frame, [piece]);
    }
  }
  const result = new Map<number, number>();
  for (const [frame, list] of byFrame) {
    const first = list[0];
    if (!first?.file) continue;
    const { file, delta } = first;
    const same = list.every(
      (piece) => piece.file === file && piece.delta === delta && (piece.prot & 2) === 0,
    );
    if (!same) continue;
    const inFile = frame - delta;
    const range = file.ranges.find(
      ({ offset, length }) => inFile >= offset && inFile + HUGE <= offset + alignUp(length, PAGE),
    );
    if (!range) continue;
    const inLayer = range.imageOffset + inFile - range.offset;
    if (inLayer % HUGE === 0) result.set(frame, inLayer);
  }
  return result;
}

/** Joins shared frames that follow each other in memory and in the layer. */
function mergeShared(frames: ReadonlyMap<number, number>, layer: number): SharedRegion[] {
  const result: SharedRegion[] = [];
  for (const [va, offset] of [...frames].sort((a, b) => a[0] - b[0])) {
    const last = result.at(-1);
    if (last && last.va + last.length === va && last.offset + last.length === offset) {
      result[result.length - 1] = { ...last, length: last.length + HUGE };
    } else {
      result.push({ va, layer, offset, length: HUGE });
    }
  }
  return result;
}

/** The frames that are not shared, joined where they touch, with what is copied into them. */
function privateRegions(
  pieces: readonly Piece[],
  shared: ReadonlyMap<number, number>,
  firstGpa: number,
): PrivateRegion[] {
  const frames = new Set<number>();
  for (const piece of pieces) {
    for (let frame = alignDown(piece.start, HUGE); frame < piece.end; frame += HUGE) {
      if (!shared.has(frame)) frames.add(frame);
    }
  }
  const result: PrivateRegion[] = [];
  let gpa = firstGpa;
  for (const [va, end] of runs([...frames].sort((a, b) => a - b))) {
    result.push({ va, gpa, length: end - va, parts: partsOf(pieces, va, end) });
    gpa += end - va;
  }
  return result;
}

/** Joins ascending frame addresses into [start, end) runs. */
function runs(frames: readonly number[]): [number, number][] {
  const result: [number, number][] = [];
  for (const frame of frames) {
    const last = result.at(-1);
    if (last && last[1] === frame) last[1] = frame + HUGE;
    else result.push([frame, frame + HUGE]);
  }
  return result;
}

/** The copies that fill [va, end). */
function partsOf(pieces: readonly Piece[], va: number, end: number): CopyPart[] {
  const parts: CopyPart[] = [];
  for (const piece of pieces) {
    if (!piece.file) continue;
    const from = Math.max(piece.start, va);
    const to = Math.min(piece.copyEnd, end);
    if (to <= from) continue;
    let at = from;
    while (at < to) {
      const { offset, length } = locate(piece.file, at - piece.delta, to - at);
      addPart(parts, { layer: piece.file.layer, offset, length, at: at - va });
      at += length;
    }
  }
  return parts;
}

/** Where file bytes lie in the layer; at most `length` of them, as far as they lie in one piece. */
function locate(file: LoadedFile, fileOffset: number, length: number): { offset: number; length: number } {
  for (const range of file.ranges) {
    const within = fileOffset - range.offset;
    if (within < 0 || within >= range.length) continue;
    return { offset: range.imageOffset + within, length: Math.min(length, range.length - within) };
  }
  throw new Error(`${file.path}: byte ${fileOffset} is not in the layer`);
}

/** Appends a copy, joined with the last one if both are one run. */
function addPart(parts: CopyPart[], part: CopyPart): void {
  const last = parts.at(-1);
  const joins = last && last.at + last.length === part.at && last.offset + last.length === part.offset;
  if (joins && last.layer === part.layer)
    parts[parts.length - 1] = { ...last, length: last.length + part.length };
  else parts.push(part);
}

function mappingOf(piece: Piece): ProgramMapping {
  return {
    start: piece.start,
    end: piece.end,
    prot: piece.prot,
    fileOffset: piece.file ? piece.start - piece.delta : 0,
    path: piece.file ? piece.file.path : "",
  };
}

/** Joins neighbours that Linux would show as one line. */
function mergeMappings(mappings: readonly ProgramMapping[]): ProgramMapping[] {
  const result: ProgramMapping[] = [];
  for (const mapping of mappings) {
    const last = result.at(-1);
    const follows =
      last && last.end === mapping.start && last.prot === mapping.prot && last.path === mapping.path;
    const continues =
      follows && (mapping.path === "" || last.fileOffset + (last.end - last.start) === mapping.fileOffset);
    if (continues) result[result.length - 1] = { ...last, end: mapping.end };
    else result.push(mapping);
  }
  return result;
}

/** Remainder that is never negative. */
function modulo(value: number, unit: number): number {
  return ((value % unit) + unit) % unit;
}
