/**
 * Writes and reads uncompressed EROFS images with 4 KiB blocks. The same tree
 * gives the same bytes. Nothing the reader meets is trusted: a damaged image
 * raises an {@link ErofsError}.
 */

export { ErofsError, type ErofsErrorReason } from "./error.ts";
export type {
  ContentPart,
  ImageOptions,
  ImagePlan,
  PlacedRange,
  Placement,
  TreeEntry,
} from "./tree.ts";
