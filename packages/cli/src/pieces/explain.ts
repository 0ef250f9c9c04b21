/** What `spore explain` does. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import type { Context } from "../command.ts";
import { imageOf } from "../settings/image-of.ts";
import { nearest } from "../suggest.ts";
import { compare, printChanges } from "./compare.ts";
import { printFeature, printPiece, printReport } from "./print.ts";
import { type PieceReport, reportOf } from "./report.ts";

/** Carries out `spore explain`. */
export async function explainImage(
  invocation: { readonly options: { readonly json: boolean }; readonly words: readonly string[] },
  context: Context,
): Promise<number> {
  const { options, words } = invocation;
  const [image = ".", second] = words;
  const report = await open(image, context);
  const print = (value: unknown): void => context.out(`${JSON.stringify(value, null, 2)}\n`);
  if (second === undefined) {
    if (options.json) print(report);
    else printReport(report, context);
  } else if (existsSync(resolve(context.cwd, second))) {
    const changes = compare(report, await open(second, context));
    if (options.json) print(changes);
    else printChanges(changes, context);
  } else {
    const feature = report.features.find(({ name }) => name === second);
    const named = feature ? [...feature.services, ...feature.calls] : [second];
    const pieces = named.map(
      (each) => report.pieces.find(({ name }) => name === each) ?? leftOut(report, each),
    );
    if (options.json) print(named.length > 1 ? { ...feature, pieces } : pieces[0]);
    else {
      if (feature && named.length > 1) printFeature(feature, context);
      for (const piece of pieces) printPiece(piece, report.pieces, context);
    }
  }
  return 0;
}

async function open(target: string, context: Context): Promise<PieceReport> {
  const report = reportOf(await imageOf(target, context));
  if (!report) throw sporeError("SPORE_IMAGE_UNEXPLAINED", { image: target });
  return report;
}

/** A piece that the app asks for and that is not there, or the error that there is no such piece. */
function leftOut(report: PieceReport, name: string): PieceReport["pieces"][number] {
  const missing = report.missing.find((each) => each.name === name);
  if (missing) return { ...missing, kind: "call", size: 0, zeros: 0, count: 0, with: [], parts: [] };
  const near = nearest(
    name,
    report.pieces.map((piece) => piece.name),
  );
  const next = near === undefined ? undefined : `did you mean \`${near}\`?`;
  throw sporeError(
    "SPORE_PIECE_ABSENT",
    { piece: name, image: report.name },
    next === undefined ? {} : { next },
  );
}
