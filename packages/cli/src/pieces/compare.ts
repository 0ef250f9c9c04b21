/** What changed from one image to another. */

import type { Context } from "../command.ts";
import { sayBytes } from "./print.ts";
import { type ExplainedPiece, type PieceReport, sayReason } from "./report.ts";

/** The differences; sizes in bytes. */
export interface Changes {
  readonly from: { readonly name: string; readonly digest: string; readonly kernel: number };
  readonly to: { readonly name: string; readonly digest: string; readonly kernel: number };
  readonly added: readonly ExplainedPiece[];
  readonly removed: readonly ExplainedPiece[];
  readonly resized: readonly { readonly name: string; readonly from: number; readonly to: number }[];
}

/** Compares two images piece by piece. */
export function compare(from: PieceReport, to: PieceReport): Changes {
  const before = new Map(from.pieces.map((piece) => [piece.name, piece]));
  const after = new Map(to.pieces.map((piece) => [piece.name, piece]));
  const head = ({ name, digest, kernel }: PieceReport): Changes["from"] => ({ name, digest, kernel });
  return {
    from: head(from),
    to: head(to),
    added: to.pieces.filter(({ name }) => !before.has(name)),
    removed: from.pieces.filter(({ name }) => !after.has(name)),
    resized: to.pieces.flatMap(({ name, size }) => {
      const old = before.get(name);
      return old !== undefined && old.size !== size ? [{ name, from: old.size, to: size }] : [];
    }),
  };
}

/** Prints the differences, one a line. */
export function printChanges(changes: Changes, context: Context): void {
  const { from, to, added, removed, resized } = changes;
  const line = (text: string): void => context.out(`${text}\n`);
  line(`${from.name}  ${from.digest}`);
  line(`${to.name}  ${to.digest}`);
  const { length } = [...added, ...removed, ...resized];
  line(
    `library OS: ${sayBytes(from.kernel)}, then ${sayBytes(to.kernel)}${length === 0 ? "; the same pieces" : ""}`,
  );
  for (const { name, size, by } of added) {
    const [reason] = by;
    line(`+ ${name}  ${sayBytes(size)}${reason === undefined ? "" : `  ${sayReason(reason)}`}`);
  }
  for (const { name, size } of removed) line(`- ${name}  ${sayBytes(size)}`);
  for (const each of resized) line(`~ ${each.name}  ${sayBytes(each.from)}, then ${sayBytes(each.to)}`);
}
