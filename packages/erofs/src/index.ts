/**
 * Writes and reads uncompressed EROFS images with 4 KiB blocks. The same tree
 * gives the same bytes. Nothing the reader meets is trusted: a damaged image
 * raises an {@link ErofsError}.
 */

export { ErofsError, type ErofsErrorReason } from "./error.ts";
export { planImage } from "./plan.ts";
export { type ImageReader, type ImageSource, type ImageStat, openImage } from "./reader.ts";
export type {
  ContentPart,
  ImageOptions,
  ImagePlan,
  PlacedRange,
  Placement,
  TreeEntry,
} from "./tree.ts";
