/** The one error that linking can raise, besides the ElfError of a damaged input. */

/**
 * Why nothing was linked:
 * - `missing-symbol`: something that is kept refers to a symbol that nobody defines;
 * - `duplicate-symbol`: two objects define the same symbol;
 * - `unknown-relocation`: a kind of relocation, or of symbol, that is not used here;
 * - `relocation-overflow`: an address or distance does not fit its field;
 * - `too-large`: the result does not fit its window;
 * - `bad-catalogue`: the archive does not say which pieces it holds;
 * - `unknown-piece`: a piece was chosen that the archive does not hold;
 * - `piece-conflict`: a piece is asked for, and left out with something that it needs;
 * - `needs-cycle`: pieces need each other in a circle.
 */
export type LinkErrorReason =
  | "missing-symbol"
  | "duplicate-symbol"
  | "unknown-relocation"
  | "relocation-overflow"
  | "too-large"
  | "bad-catalogue"
  | "unknown-piece"
  | "piece-conflict"
  | "needs-cycle";

/** A link that failed. */
export class LinkError extends Error {
  override readonly name = "LinkError";
  /** Stable code for the cause. */
  readonly reason: LinkErrorReason;

  constructor(reason: LinkErrorReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
