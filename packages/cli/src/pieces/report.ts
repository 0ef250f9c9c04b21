/** What is known of an image's pieces, brought together from its documents. */

import { type Image, needsOf, type Piece, piecesOf } from "@spore/image";
import { unpackKernel } from "@spore/image/inside";
import type { PiecesMode, Reason, SiteCount } from "@spore/needs";

/** A piece and who asked for it. */
export interface ExplainedPiece extends Piece {
  /** Empty: nobody did, it came with another piece or with a full image. */
  readonly by: readonly Reason[];
}

/** What pieces are listed under: a feature such as epoll, a service and its calls, or a group of calls. */
export interface PresentFeature {
  readonly name: string;
  /** Bytes of code and data that its pieces brought. */
  readonly size: number;
  /** Its system calls, by number. */
  readonly calls: readonly string[];
  /** Its services. */
  readonly services: readonly string[];
  /** Who asked for any of them. */
  readonly by: readonly Asked[];
}

/** A reason, and the piece that it asks for. */
export interface Asked {
  readonly piece: string;
  readonly reason: Reason;
}

/** Everything that `spore explain` says of an image. */
export interface PieceReport {
  readonly name: string;
  readonly digest: string;
  readonly mode: PiecesMode;
  /** Bytes of the linked library OS. */
  readonly kernel: number;
  readonly pieces: readonly ExplainedPiece[];
  /** The same pieces, by what belongs together; the largest first. */
  readonly features: readonly PresentFeature[];
  /** Reasons why nothing could be left out. */
  readonly everything: readonly Reason[];
  /** Pieces that are left out because somebody said so. */
  readonly without: readonly string[];
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
  const explained = pieces.map((piece) => ({ ...piece, by: reasons(piece) }));
  return {
    name: image.name,
    digest: image.digest,
    mode: needs.mode,
    kernel: unpackKernel(image.kernel).length,
    pieces: explained,
    features: featuresOf(explained),
    everything: needs.everything,
    without: needs.without ?? [],
    missing: needs.calls.filter(({ name }) => !present.has(name)).map(({ name, by }) => ({ name, by })),
    sites: needs.sites,
  };
}

function featuresOf(pieces: readonly ExplainedPiece[]): PresentFeature[] {
  const services = pieces.filter(({ kind }) => kind === "service").map(({ name }) => name);
  const homes = new Map<string, ExplainedPiece[]>();
  for (const piece of pieces) {
    const home = piece.feature ?? services.find((name) => piece.name.startsWith(`${name}/`)) ?? piece.name;
    homes.set(home, [...(homes.get(home) ?? []), piece]);
  }
  const namesOf = (kind: Piece["kind"], all: readonly Piece[]): string[] =>
    all.filter((piece) => piece.kind === kind).map(({ name }) => name);
  return [...homes]
    .map(([name, all]) => ({
      name,
      size: all.reduce((sum, piece) => sum + piece.size, 0),
      calls: namesOf("call", all),
      services: namesOf("service", all),
      by: all.flatMap((piece) => piece.by.map((reason) => ({ piece: piece.name, reason }))),
    }))
    .sort((one, two) => two.size - one.size || (one.name < two.name ? -1 : 1));
}

/** A piece that asked for one that nobody else asked for, and why that is there. */
export function bringerOf(piece: Piece, all: readonly ExplainedPiece[]): Asked | undefined {
  const seen = new Set([piece.name]);
  // The nearest first; a piece may come with one that itself comes with another.
  let around = [...piece.with];
  while (around.length > 0) {
    const bringers = around.flatMap((name) => all.find((each) => each.name === name) ?? []);
    for (const { name, by } of bringers) {
      seen.add(name);
      const [reason] = by;
      if (reason !== undefined) return { piece: name, reason };
    }
    around = bringers.flatMap((each) => [...each.with]).filter((name) => !seen.has(name));
  }
  return undefined;
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
