/** Decides where file content lies behind the tables. */
import { ErofsError } from "./error.ts";
import { BLOCK } from "./format.ts";
import type { Node } from "./nodes.ts";
import type { Placement } from "./tree.ts";

const HUGE_BLOCKS = (2 << 20) / BLOCK;

/** A run of whole file pages and the image block where it starts. */
export interface Run {
  readonly node: Node;
  /** First page in the file. */
  readonly page: number;
  readonly pages: number;
  block: number;
}

/** A run with a wish for its block, modulo 512. */
interface Wish {
  run: Run;
  residue: number | undefined;
}

/**
 * The content of all files as runs, and the first block behind them. Runs with
 * a wish keep the order of their paths; the gaps before them are filled with
 * other files, in path order, as far as they fit.
 */
export function placeContent(nodes: readonly Node[], firstBlock: number): { runs: Run[]; end: number } {
  const wishes = nodes.flatMap(wishesOf);
  const fixed = wishes.filter((wish) => wish.residue !== undefined);
  let free = wishes.filter((wish) => wish.residue === undefined).map((wish) => wish.run);
  const runs: Run[] = [];
  let end = firstBlock;
  for (const { run, residue } of fixed) {
    const start = end + modulo((residue ?? 0) - end, HUGE_BLOCKS);
    const later: Run[] = [];
    for (const filler of free) {
      if (filler.pages <= start - end) {
        filler.block = end;
        end += filler.pages;
        runs.push(filler);
      } else {
        later.push(filler);
      }
    }
    free = later;
    run.block = start;
    end = start + run.pages;
    runs.push(run);
  }
  for (const run of free) {
    run.block = end;
    end += run.pages;
    runs.push(run);
  }
  return { runs, end };
}

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

function wishesOf(node: Node): Wish[] {
  if (node.entry.type !== "file" || node.contentSize === 0) return [];
  const pages = Math.ceil(node.contentSize / BLOCK);
  const placement = [...(node.entry.placement ?? [])].sort((a, b) => a.offset - b.offset);
  const wishes = placement.map((each) => placedRun(node, each));
  // What no range covers lies wherever there is room.
  let page = 0;
  const rest: Wish[] = [];
  const fill = (end: number): void => {
    if (end > page) rest.push({ run: { node, page, pages: end - page, block: 0 }, residue: undefined });
  };
  for (const { run } of wishes) {
    fill(run.page);
    page = Math.max(page, run.page + run.pages);
  }
  fill(pages);
  return [...wishes, ...rest];
}

function placedRun(node: Node, { offset, length, residue }: Placement): Wish {
  const numbers = [offset, length, residue].every((value) => Number.isSafeInteger(value) && value >= 0);
  if (!numbers || length === 0 || offset + length > node.contentSize) {
    throw new ErofsError("bad-input", `${JSON.stringify(node.path)} has a placement outside the file`);
  }
  if (modulo(residue - offset, BLOCK) !== 0) {
    throw new ErofsError("bad-input", `${JSON.stringify(node.path)} has a placement that splits pages`);
  }
  const page = Math.floor(offset / BLOCK);
  const pages = Math.ceil((offset + length) / BLOCK) - page;
  return {
    run: { node, page, pages, block: 0 },
    residue: modulo(Math.floor(residue / BLOCK), HUGE_BLOCKS),
  };
}
