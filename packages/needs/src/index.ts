/** Finds out what an app needs of the operating system, and who asks for it. */

export { callName, callNumber } from "./calls.ts";
export { systemCalls } from "./generated/system-calls.ts";
export type { NeededCall, NeededService, Needs, PiecesMode, Reason, SiteCount } from "./types.ts";
