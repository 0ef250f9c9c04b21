/** Finds out what an app needs of the operating system, and who asks for it. */

export { callName, callNumber } from "./calls.ts";
export { type AppObject, deriveNeeds, passedArguments } from "./derive.ts";
export { systemCalls } from "./generated/system-calls.ts";
export { type Profile, readProfile, type StoredProfile } from "./profile.ts";
export {
  makeRecording,
  type Recording,
  readRecording,
  recordedNeeds,
  type Used,
} from "./recording.ts";
export { loadProfile, profilesOf } from "./runtimes.ts";
export { type Passed, SUMMARY_VERSION, type Summary, summarise } from "./summary.ts";
export type { NeededCall, NeededService, Needs, PiecesMode, Reason, SiteCount } from "./types.ts";
