/** What is known of an image's pieces, brought together from its documents. */

import { type Image, needsOf, type Piece, piecesOf } from "@spore/image";
import { unpackKernel } from "@spore/image/inside";
import type { PiecesMode, Reason, SiteCount } from "@spore/needs";

/** A piece and who asked for it. */
export interface ExplainedPiece extends Piece {
  /** Empty: nobody did, it came with another piece or with a full image. */
  readonly by: readonly Reason[];
}

/** A feature of which something is there. */
export interface PresentFeature {
  readonly name: string;
  /** Bytes of code and data that its calls brought. */
  readonly size: number;
  readonly calls: readonly string[];
}

/** Everything that `spore explain` says of an image. */
export interface PieceReport {
  readonly name: string;
  readonly digest: string;
  readonly mode: PiecesMode;
  /** Bytes of the linked library OS. */
  readonly kernel: number;
  readonly pieces: readonly ExplainedPiece[];
  /** What calls of a feature are there, and what they brought together. */
  readonly features: readonly PresentFeature[];
  /** Reasons why nothing could be left out. */
  readonly everything: readonly Reason[];
  /** System calls that the app may make and this library OS does not have in this image. */
  readonly missing: readonly { readonly name: string; readonly by: readonly Reason[] }[];
  readonly sites: readonly SiteCount[];
}

/** Reads the documents of an image; undefined: it was built without them. */
export function reportOf(image: Image): PieceReport | undefined {
  const needs = needsOf(image);
  const pieces = piecesOf(image);
  if (!needs || !pieces) return undefined;
  const calls = new Map(needs.calls.map(({ name, by }) => [name, by]));
  const reasons = (piece: Piece): readonly Reason[] => {
    if (piece.kind === "call") {
      const feature = needs.services.filter(({ name }) => name === piece.feature).flatMap(({ by }) => by);
      return [...(calls.get(piece.name) ?? []), ...feature];
    }
    return needs.services.filter(({ name }) => isPartOf(name, piece.name)).flatMap(({ by }) => by);
  };
  const present = new Set(pieces.filter(({ kind }) => kind === "call").map(({ name }) => name));
  return {
    name: image.name,
    digest: image.digest,
    mode: needs.mode,
    kernel: unpackKernel(image.kernel).length,
    pieces: pieces.map((piece) => ({ ...piece, by: reasons(piece) })),
    features: featuresOf(pieces),
    everything: needs.everything,
    missing: needs.calls.filter(({ name }) => !present.has(name)).map(({ name, by }) => ({ name, by })),
    sites: needs.sites,
  };
}

function featuresOf(pieces: readonly Piece[]): PresentFeature[] {
  const names = [...new Set(pieces.flatMap(({ feature }) => feature ?? []))].sort();
  return names.map((name) => {
    const parts = pieces.filter(({ feature }) => feature === name);
    const size = parts.reduce((sum, piece) => sum + piece.size, 0);
    return { name, size, calls: parts.map((piece) => piece.name) };
  });
}

/** Whether a need is met by a service: file/proc/cpuinfo and file/* by file/proc, socket/* by each family. */
function isPartOf(need: string, service: string): boolean {
  if (need === service || need.startsWith(`${service}/`)) return true;
  return need.endsWith("/*") && service.startsWith(need.slice(0, -1));
}

/** A reason as a line for people. */
export function sayReason(reason: Reason): string {
  switch (reason.kind) {
    case "import": {
      const way = reason.through.length === 0 ? "" : ` through ${reason.through.join(", ")}`;
      return `${reason.object} imports ${reason.symbol}${way}`;
    }
    case "callSite":
      return `${reason.object} makes it at 0x${reason.address.toString(16)}${reason.symbol === "" ? "" : ` in ${reason.symbol}`}`;
    case "text":
      return `${reason.object} names ${reason.text}`;
    case "unknown":
      return `${reason.object}: ${reason.why}`;
    case "profile":
      return `profile of ${reason.profile}: ${reason.program}`;
    case "recording":
      return `recorded ${reason.count} times while \`${reason.command}\` ran`;
    case "flag":
      return reason.flag;
  }
}
