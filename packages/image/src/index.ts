/**
 * The image builder: from a project directory, an ELF program or a built image
 * to an immutable image, and from an image to what the monitor needs to boot it.
 *
 * Nothing here loads the bundler or the tracer before a build needs them, so a
 * run of an unchanged target costs a few stat calls.
 */

export { buildImage, defaultKernel, targetKind, writeImageDirectory, writeImageFile } from "./build.ts";
export { buildInputs, fingerprint } from "./build-record.ts";
export { needsOf, piecesOf } from "./document.ts";
export { readable } from "./host-file.ts";
export { openImage } from "./image-file.ts";
export { parseInclude } from "./include.ts";
export { type LaunchPlan, launchPlan, neverFrozen } from "./launch.ts";
export { kernelSymbols, type MorePieces, withPieces } from "./pieces.ts";
export { remembered } from "./remembered.ts";
export { defaultStore, prepareStore, type Store, storeAt } from "./store.ts";
export type {
  Blob,
  BlobPlace,
  BuildOptions,
  BuildResult,
  CopyPart,
  Decision,
  Device,
  GuestUser,
  HealthCheck,
  Image,
  ImageDefaults,
  ImageManifest,
  Include,
  LaunchFile,
  NodeMajor,
  PatchedObject,
  Piece,
  PrivateRegion,
  ProgramLayout,
  ProgramMapping,
  Publish,
  Rights,
  RunOptions,
  SharedRegion,
  StopSignal,
  TargetKind,
} from "./types.ts";
