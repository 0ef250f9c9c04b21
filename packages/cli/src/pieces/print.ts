/** The report of `spore explain` for people. */

import type { Context } from "../command.ts";
import { demangle } from "../crash/demangle.ts";
import {
  bringerOf,
  type ExplainedPiece,
  type PieceReport,
  type PresentFeature,
  sayReason,
} from "./report.ts";

/** Prints all pieces, one a line, under what they belong to. */
export function printReport(report: PieceReport, context: Context): void {
  const { pieces, features } = report;
  const line = (text: string): void => context.out(`${text}\n`);
  line(`${report.name}  ${report.digest}`);
  line(`library OS: ${sayBytes(report.kernel)}, ${pieces.length} pieces (--pieces ${report.mode})`);
  for (const reason of report.everything) line(`nothing is left out: ${sayReason(reason)}`);
  if (report.without.length > 0) line(`left out by --without: ${report.without.join(", ")}`);
  line("");
  const width = Math.max(...pieces.map(({ name }) => name.length)) + 2;
  const row = (name: string, size: number, text: string): void =>
    line(`${name.padEnd(width)}  ${sayBytes(size).padStart(9)}  ${text}`);
  for (const feature of features) {
    const own = pieces
      .filter(({ name, kind }) => (kind === "call" ? feature.calls : feature.services).includes(name))
      .sort((one, two) => two.size - one.size || compareNames(one, two));
    const [only, second] = own;
    if (only === undefined) row(feature.name, feature.size, "always there");
    else if (second === undefined && only.name === feature.name)
      row(only.name, only.size, sayAsker(only, pieces));
    else {
      row(feature.name, feature.size, sayAskers(feature, own, pieces));
      for (const piece of own) row(`  ${piece.name}`, piece.size, sayAsker(piece, pieces));
    }
  }
  if (report.missing.length > 0) {
    line("");
    line(`asked for and not there, answered ENOSYS: ${report.missing.map(({ name }) => name).join(", ")}`);
  }
  if (report.sites.length > 0) line("");
  const jumps = (
    what: string,
    { sites, patched }: { readonly sites: number; readonly patched: number },
  ): string => `${patched} of ${sites} ${what} instructions are jumps, ${sites - patched} trap`;
  for (const site of report.sites) {
    const counts = [
      ...(site.sites > 0 ? [jumps("system-call", site)] : []),
      ...(site.cpuid ? [jumps("cpuid", site.cpuid)] : []),
    ];
    line(`${site.object}: ${counts.join("; ")}`);
  }
}

/** Who asked for what of a feature. */
function sayAskers(
  { by }: PresentFeature,
  own: readonly ExplainedPiece[],
  pieces: readonly ExplainedPiece[],
): string {
  const [first, ...others] = by;
  const count = `${own.length} piece${own.length === 1 ? "" : "s"}`;
  if (first === undefined) return own[0] ? `${count}; ${sayAsker(own[0], pieces)}` : count;
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  return `${count}; ${first.piece}: ${sayReason(first.reason)}${more}`;
}

/** Prints what there is of a feature, before its pieces. */
export function printFeature({ name, size, calls, services }: PresentFeature, context: Context): void {
  context.out(`${name}: ${sayBytes(size)}, ${[...services, ...calls].join(", ")}\n\n`);
}

/** Prints everything that is known of one piece. */
export function printPiece(piece: ExplainedPiece, pieces: readonly ExplainedPiece[], context: Context): void {
  const line = (text: string): void => context.out(`${text}\n`);
  line(
    `${piece.name}: ${piece.kind}, ${sayBytes(piece.size)}${piece.zeros > 0 ? `, and ${sayBytes(piece.zeros)} of memory` : ""}`,
  );
  if (piece.by.length === 0) line(`  ${sayAsker(piece, pieces)}`);
  for (const reason of piece.by) line(`  ${sayReason(reason)}`);
  if (piece.parts.length > 0) line("pulled in:");
  for (const { name, size } of piece.parts) line(`  ${sayBytes(size).padStart(9)}  ${demangle(name)}`);
  const more = piece.count - piece.parts.length;
  if (more > 0) line(`  and ${more} smaller`);
}

function sayAsker(piece: ExplainedPiece, pieces: readonly ExplainedPiece[]): string {
  const [first, ...others] = piece.by;
  if (first !== undefined)
    return `${sayReason(first)}${others.length === 0 ? "" : ` (and ${others.length} more)`}`;
  if (piece.kind === "core") return "always there";
  const bringer = bringerOf(piece, pieces);
  return bringer === undefined
    ? "nobody asked for it: it came with --pieces full"
    : `comes with ${bringer.piece}: ${sayReason(bringer.reason)}`;
}

function compareNames(a: ExplainedPiece, b: ExplainedPiece): number {
  return a.name < b.name ? -1 : 1;
}

/** "12.3 KiB". */
export function sayBytes(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KiB`;
}
