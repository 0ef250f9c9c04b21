/**
 * Links a library OS of chosen pieces from the archive that Spore ships: anywhere, without
 * a compiler, in milliseconds.
 */

export type { Call, Catalogue, Feature, Service } from "./catalogue.ts";
export { choose, type Wishes } from "./choose.ts";
export { LinkError, type LinkErrorReason } from "./error.ts";
export type { Window } from "./layout.ts";
export { type LinkedKernel, link } from "./link.ts";
export { type Input, type InputObject, parse } from "./parse.ts";
export type { PieceReport } from "./report.ts";
export { type Choice, everything } from "./select.ts";
