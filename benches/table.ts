/** Rows for people. */

import type { Row, Spread } from "./rows.ts";

const HEAD = ["bench", "case", "unit", "ours min", "p50", "p99", "native min", "p50", "p99", "ratio"];
/** Columns with words; the others hold numbers. */
const WORDS = 3;

/** A table with a line a row. */
export function table(rows: readonly Row[]): string {
  const cells = [HEAD, ...rows.map(cellsOf)];
  const widths = HEAD.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  const line = (words: readonly string[]): string =>
    words
      .map((word, column) =>
        column < WORDS ? word.padEnd(widths[column] ?? 0) : word.padStart(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return `${cells.map(line).join("\n")}\n`;
}

function cellsOf(row: Row): string[] {
  const numbers = ({ min, p50, p99 }: Spread): string[] => [min, p50, p99].map(short);
  const ratio = row.ratio === null ? "-" : row.ratio.toFixed(2);
  return [row.bench, row.case, row.unit, ...numbers(row.ours), ...numbers(row.native), ratio];
}

/** Three digits that count. */
function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
