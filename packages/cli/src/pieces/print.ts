/** The report of `spore explain` for people. */

import type { Context } from "../command.ts";
import { demangle } from "../crash/demangle.ts";
import { type ExplainedPiece, type PieceReport, sayReason } from "./report.ts";

/** Prints all pieces, one a line, the largest of each kind first. */
export function printReport(report: PieceReport, context: Context): void {
  const { pieces } = report;
  const line = (text: string): void => context.out(`${text}\n`);
  line(`${report.name}  ${report.digest}`);
  line(`library OS: ${sayBytes(report.kernel)}, ${pieces.length} pieces (--pieces ${report.mode})`);
  for (const reason of report.everything) line(`nothing is left out: ${sayReason(reason)}`);
  line("");
  const rank = { core: 0, service: 1, call: 2 };
  const rows = [...pieces].sort(
    (a, b) => rank[a.kind] - rank[b.kind] || b.size - a.size || compareNames(a, b),
  );
  const width = Math.max(...rows.map(({ name }) => name.length));
  for (const piece of rows) {
    line(`${piece.name.padEnd(width)}  ${sayBytes(piece.size).padStart(9)}  ${sayAsker(piece)}`);
  }
  if (report.features.length > 0) line("");
  for (const { name, size, calls } of report.features) {
    line(`${name.padEnd(width)}  ${sayBytes(size).padStart(9)}  together: ${calls.join(", ")}`);
  }
  if (report.missing.length > 0) {
    line("");
    line(`asked for and not there, answered ENOSYS: ${report.missing.map(({ name }) => name).join(", ")}`);
  }
  if (report.sites.length > 0) line("");
  for (const { object, sites, patched } of report.sites) {
    line(`${object}: ${patched} of ${sites} system-call instructions are jumps, ${sites - patched} trap`);
  }
}

/** Prints everything that is known of one piece. */
export function printPiece(piece: ExplainedPiece, context: Context): void {
  const line = (text: string): void => context.out(`${text}\n`);
  line(
    `${piece.name}: ${piece.kind}, ${sayBytes(piece.size)}${piece.zeros > 0 ? `, and ${sayBytes(piece.zeros)} of memory` : ""}`,
  );
  if (piece.by.length === 0) line(sayAsker(piece));
  for (const reason of piece.by) line(`  ${sayReason(reason)}`);
  if (piece.parts.length > 0) line("pulled in:");
  for (const { name, size } of piece.parts) line(`  ${sayBytes(size).padStart(9)}  ${demangle(name)}`);
  const more = piece.count - piece.parts.length;
  if (more > 0) line(`  and ${more} smaller`);
}

function sayAsker(piece: ExplainedPiece): string {
  const [first, ...others] = piece.by;
  if (first === undefined)
    return piece.kind === "core"
      ? "always there"
      : "nobody asked for it: it came with others, or with --pieces full";
  return `${sayReason(first)}${others.length === 0 ? "" : ` (and ${others.length} more)`}`;
}

function compareNames(a: ExplainedPiece, b: ExplainedPiece): number {
  return a.name < b.name ? -1 : 1;
}

/** "12.3 KiB". */
export function sayBytes(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KiB`;
}
