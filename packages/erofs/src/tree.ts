/** What goes into an image, as the caller describes it. */

/** A run of bytes of a file: in memory, or read on demand. */
export type ContentPart =
  | Uint8Array
  | {
      /** Number of bytes. */
      readonly length: number;
      /** The bytes `[offset, offset + length)` of this run; exactly `length` of them. */
      read(offset: number, length: number): Uint8Array;
    };

/**
 * Where a byte range of a file must lie in the image: at an offset that is
 * `residue` modulo 2 MiB, in one piece. Ranges are widened to 4 KiB pages;
 * a page that two ranges share is stored twice.
 */
export interface Placement {
  /** First byte in the file. */
  readonly offset: number;
  readonly length: number;
  /** The wanted image offset of byte `offset`, modulo 2 MiB; ≡ `offset` (mod 4096). */
  readonly residue: number;
}

/** One entry of the tree. `path` is absolute, without "." or ".." or a trailing slash; "/" is the root. */
export type TreeEntry =
  | {
      readonly type: "directory";
      readonly path: string;
      readonly mode?: number;
      readonly uid?: number;
      readonly gid?: number;
    }
  | {
      readonly type: "file";
      readonly path: string;
      /** Permission bits; default 0o644. */
      readonly mode?: number;
      readonly uid?: number;
      readonly gid?: number;
      /** The parts follow each other. */
      readonly content: readonly ContentPart[];
      /** For programs whose segments are mapped straight from the image. */
      readonly placement?: readonly Placement[];
    }
  | {
      readonly type: "symlink";
      readonly path: string;
      readonly target: string;
      readonly uid?: number;
      readonly gid?: number;
    };

/** Settings that hold for the whole image. */
export interface ImageOptions {
  /** Modification time of everything, seconds since 1970; default 0. */
  readonly mtime?: number;
  /** Owner of entries that name none; default 0. */
  readonly uid?: number;
  /** Group of entries that name none; default 0. */
  readonly gid?: number;
  /** 16 bytes; default all zero. */
  readonly uuid?: Uint8Array;
  /** Up to 15 bytes of UTF-8. */
  readonly volumeName?: string;
}

/** A run of file bytes and where it lies in the image. */
export interface PlacedRange {
  /** First byte in the file. */
  readonly offset: number;
  readonly length: number;
  /** Where that byte lies in the image. */
  readonly imageOffset: number;
}

/** A computed image: every offset is known, no file content was read. */
export interface ImagePlan {
  /** Length of the image in bytes, a multiple of 4096. */
  readonly size: number;
  /** All tables lie in `[0, metadataLength)`, file content behind; a multiple of 4096. */
  readonly metadataLength: number;
  /**
   * Image offset of a file's first byte, which its other bytes follow. Throws
   * for an empty file and for one that is not in one piece: see `rangesOf`.
   */
  offsetOf(path: string): number;
  /** Where a file lies: for a placed file its ranges (widened to pages), else one run. */
  rangesOf(path: string): readonly PlacedRange[];
  /**
   * Hands out the image in ascending order, without gaps, in pieces of at most
   * 2 MiB that the callee may not keep.
   */
  write(sink: (offset: number, bytes: Uint8Array) => void): void;
}
