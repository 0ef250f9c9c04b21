/** The one error of this package. */

/**
 * What is wrong:
 * - `not-erofs`: no EROFS superblock;
 * - `checksum`: the superblock's checksum does not match;
 * - `unsupported`: a feature that is neither written nor read here (compression, devices);
 * - `damaged`: tables that contradict themselves or point outside the image;
 * - `not-found`: no such path in the image;
 * - `wrong-kind`: the path is of another kind (reading a directory as a file);
 * - `bad-input`: the tree to write is not valid.
 */
export type ErofsErrorReason =
  | "not-erofs"
  | "checksum"
  | "unsupported"
  | "damaged"
  | "not-found"
  | "wrong-kind"
  | "bad-input";

/** An image that cannot be read, or a tree that cannot be written. */
export class ErofsError extends Error {
  override readonly name = "ErofsError";
  /** Stable code for the cause. */
  readonly reason: ErofsErrorReason;

  constructor(reason: ErofsErrorReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
