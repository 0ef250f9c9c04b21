/**
 * The on-disk structures of EROFS that are used here: superblock, inodes and
 * directory entries. Reference: Linux, fs/erofs/erofs_fs.h. Little endian.
 */
import { crc32c } from "./crc32c.ts";
import { ErofsError } from "./error.ts";

export const BLOCK = 4096;
export const BLOCK_BITS = 12;
/** Inodes lie at multiples of this; an inode's number is its offset divided by it. */
export const SLOT = 32;
export const SUPER_OFFSET = 1024;
export const SUPER_SIZE = 128;
export const DIRENT_SIZE = 12;
export const LONGEST_NAME = 255;
/** Linux takes no longer link (PATH_MAX with its NUL). */
export const LONGEST_LINK = 4095;
const MAGIC = 0xe0f5e1e2;
const COMPAT_CHECKSUM = 1;
const COMPAT_MTIME = 2;
export const INCOMPAT_CHUNKED = 4;

/** How an inode's data is stored. */
export const Layout = { flatPlain: 0, flatInline: 2, chunkBased: 4 } as const;

/** File types in directory entries. */
export const EntryType = { file: 1, directory: 2, symlink: 7 } as const;

/** The type bits of a mode. */
export const ModeType = { mask: 0o170000, file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const;

/** The superblock's fields that vary. */
export interface Superblock {
  /** Number of the root directory's inode. */
  readonly root: number;
  readonly inodes: number;
  /** Seconds since 1970; modification time of compact inodes. */
  readonly time: number;
  readonly blocks: number;
  /** Block from which inode numbers count. */
  readonly metaBlock: number;
  readonly uuid: Uint8Array;
  readonly volumeName: Uint8Array;
  readonly incompatible: number;
}

/** Writes the superblock into block 0, whose other bytes must be final: they are checksummed. */
export function writeSuperblock(block: Uint8Array, fields: Superblock): void {
  const view = viewOf(block);
  view.setUint32(SUPER_OFFSET, MAGIC, true);
  view.setUint32(SUPER_OFFSET + 8, COMPAT_CHECKSUM | COMPAT_MTIME, true);
  view.setUint8(SUPER_OFFSET + 12, BLOCK_BITS);
  view.setUint16(SUPER_OFFSET + 14, fields.root, true);
  view.setBigUint64(SUPER_OFFSET + 16, BigInt(fields.inodes), true);
  view.setBigUint64(SUPER_OFFSET + 24, BigInt(fields.time), true);
  view.setUint32(SUPER_OFFSET + 36, fields.blocks, true);
  view.setUint32(SUPER_OFFSET + 40, fields.metaBlock, true);
  block.set(fields.uuid, SUPER_OFFSET + 48);
  block.set(fields.volumeName, SUPER_OFFSET + 64);
  view.setUint32(SUPER_OFFSET + 80, fields.incompatible, true);
  view.setUint32(SUPER_OFFSET + 4, crc32c(block.subarray(SUPER_OFFSET, BLOCK)), true);
}

/** Reads and checks the superblock in block 0. */
export function readSuperblock(block: Uint8Array): Superblock {
  const view = viewOf(block);
  if (block.length < BLOCK || view.getUint32(SUPER_OFFSET, true) !== MAGIC) {
    throw new ErofsError("not-erofs", "this is not an EROFS image");
  }
  if (view.getUint8(SUPER_OFFSET + 12) !== BLOCK_BITS) {
    throw new ErofsError("unsupported", "the image's blocks are not 4096 bytes large");
  }
  if (view.getUint32(SUPER_OFFSET + 8, true) & COMPAT_CHECKSUM) {
    const copy = new Uint8Array(block.subarray(SUPER_OFFSET, BLOCK));
    copy.fill(0, 4, 8);
    if (crc32c(copy) !== view.getUint32(SUPER_OFFSET + 4, true)) {
      throw new ErofsError("checksum", "the superblock is damaged: its checksum does not match");
    }
  }
  const incompatible = view.getUint32(SUPER_OFFSET + 80, true);
  if (incompatible & ~INCOMPAT_CHUNKED || view.getUint16(SUPER_OFFSET + 86, true) !== 0) {
    throw new ErofsError("unsupported", "the image uses features that are not supported");
  }
  return {
    root: view.getUint16(SUPER_OFFSET + 14, true),
    inodes: safe(view.getBigUint64(SUPER_OFFSET + 16, true)),
    time: safe(view.getBigInt64(SUPER_OFFSET + 24, true)),
    blocks: view.getUint32(SUPER_OFFSET + 36, true),
    metaBlock: view.getUint32(SUPER_OFFSET + 40, true),
    uuid: block.slice(SUPER_OFFSET + 48, SUPER_OFFSET + 64),
    volumeName: block.slice(SUPER_OFFSET + 64, SUPER_OFFSET + 80),
    incompatible,
  };
}

/** One inode, in either form. */
export interface Inode {
  /** One of {@link Layout}. */
  readonly layout: number;
  /** Type and permission bits. */
  readonly mode: number;
  readonly links: number;
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Number that stat shows. */
  readonly serial: number;
  /** Start block of flat data, or the chunk format. */
  readonly location: number;
}

/** Bytes of the form that an inode needs: 32, or 64 where a field does not fit. */
export function inodeSize(inode: Pick<Inode, "links" | "size" | "uid" | "gid">): 32 | 64 {
  const fits = inode.links < 2 ** 16 && inode.size < 2 ** 32 && inode.uid < 2 ** 16 && inode.gid < 2 ** 16;
  return fits ? 32 : 64;
}

/** Writes an inode at `at`, in the form that {@link inodeSize} says. */
export function writeInode(bytes: Uint8Array, at: number, inode: Inode): void {
  const view = viewOf(bytes);
  const extended = inodeSize(inode) === 64;
  view.setUint16(at, (inode.layout << 1) | (extended ? 1 : 0), true);
  view.setUint16(at + 4, inode.mode, true);
  view.setUint32(at + 16, inode.location, true);
  view.setUint32(at + 20, inode.serial, true);
  if (extended) {
    view.setBigUint64(at + 8, BigInt(inode.size), true);
    view.setUint32(at + 24, inode.uid, true);
    view.setUint32(at + 28, inode.gid, true);
    view.setBigUint64(at + 32, BigInt(inode.mtime), true);
    view.setUint32(at + 44, inode.links, true);
  } else {
    view.setUint16(at + 6, inode.links, true);
    view.setUint32(at + 8, inode.size, true);
    view.setUint16(at + 24, inode.uid, true);
    view.setUint16(at + 26, inode.gid, true);
  }
}

/** An inode as read, with what is needed to find its data. */
export interface StoredInode extends Inode {
  /** Bytes from the inode's start to its inline data or chunk map. */
  readonly headSize: number;
}

/** Reads the inode at the start of `bytes` (64 of them, or 32 at the image's end). */
export function readInode(bytes: Uint8Array, time: number): StoredInode {
  const view = viewOf(bytes);
  const format = view.getUint16(0, true);
  const extended = (format & 1) === 1;
  const layout = format >> 1;
  if (format > 15 || !(Object.values(Layout) as number[]).includes(layout)) {
    throw new ErofsError(format > 15 ? "damaged" : "unsupported", "an inode has an unknown layout");
  }
  if (extended && bytes.length < 64) throw new ErofsError("damaged", "an inode is cut off");
  const attributes = view.getUint16(2, true);
  const common = {
    layout,
    mode: view.getUint16(4, true),
    location: view.getUint32(16, true),
    serial: view.getUint32(20, true),
    // Extended attributes: a header of 12 bytes, then 4 bytes for each further unit.
    headSize: (extended ? 64 : 32) + (attributes === 0 ? 0 : 12 + 4 * (attributes - 1)),
  };
  if (!extended) {
    return {
      ...common,
      links: view.getUint16(6, true),
      size: view.getUint32(8, true),
      uid: view.getUint16(24, true),
      gid: view.getUint16(26, true),
      mtime: time,
    };
  }
  return {
    ...common,
    links: view.getUint32(44, true),
    size: safe(view.getBigUint64(8, true)),
    uid: view.getUint32(24, true),
    gid: view.getUint32(28, true),
    mtime: safe(view.getBigInt64(32, true)),
  };
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function safe(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new ErofsError("damaged", "a number is too large");
  return number;
}
