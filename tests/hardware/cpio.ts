/**
 * Writes an initramfs: a cpio archive in the "newc" format, uncompressed.
 * Format: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
 */

import { closeSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { posix } from "node:path";

/** What one entry is. */
export type Content =
  | { readonly kind: "text"; readonly text: string; readonly mode: number }
  /** A copy of a file of this host. */
  | { readonly kind: "file"; readonly from: string; readonly mode: number }
  | { readonly kind: "character-device"; readonly major: number; readonly minor: number };

/** Absolute path in the archive -> what lies there. Parent directories come by themselves. */
export type Tree = ReadonlyMap<string, Content>;

const REGULAR = 0o100000;
const DIRECTORY = 0o040000;
const CHARACTER = 0o020000;

/** Writes the archive of a tree to a file. */
export function writeCpio(tree: Tree, output: string): void {
  const fd = openSync(output, "w");
  try {
    let inode = 1;
    const append = (
      name: string,
      mode: number,
      data: Uint8Array,
      device?: readonly [number, number],
    ): void => {
      writeAll(fd, header({ inode: inode++, mode, size: data.length, name, device }));
      writeAll(fd, data);
      writeAll(fd, Buffer.alloc(padding(data.length)));
    };
    for (const directory of directoriesOf(tree))
      append(directory.slice(1), DIRECTORY | 0o755, Buffer.alloc(0));
    for (const [path, content] of tree) {
      const name = path.slice(1);
      if (content.kind === "text") append(name, REGULAR | content.mode, Buffer.from(content.text));
      else if (content.kind === "file") append(name, REGULAR | content.mode, readFileSync(content.from));
      else append(name, CHARACTER | 0o600, Buffer.alloc(0), [content.major, content.minor]);
    }
    inode = 0;
    append("TRAILER!!!", 0, Buffer.alloc(0));
  } finally {
    closeSync(fd);
  }
}

/** All directories above the entries, parents first. */
function directoriesOf(tree: Tree): string[] {
  const found = new Set<string>();
  for (const path of tree.keys()) {
    const chain: string[] = [];
    for (let above = posix.dirname(path); above !== "/"; above = posix.dirname(above)) chain.unshift(above);
    for (const directory of chain) found.add(directory);
  }
  return [...found];
}

interface Fields {
  readonly inode: number;
  readonly mode: number;
  readonly size: number;
  readonly name: string;
  readonly device: readonly [number, number] | undefined;
}

/** Magic, thirteen numbers of eight hexadecimal digits, the name; padded to four bytes. */
function header({ inode, mode, size, name, device }: Fields): Buffer {
  const [major, minor] = device ?? [0, 0];
  const owner = 0;
  const links = 1;
  const time = 0;
  const nameLength = Buffer.byteLength(name) + 1;
  const numbers = [inode, mode, owner, owner, links, time, size, 0, 0, major, minor, nameLength, 0];
  const text = `070701${numbers.map((number) => number.toString(16).padStart(8, "0")).join("")}${name}\0`;
  const bytes = Buffer.from(text);
  return Buffer.concat([bytes, Buffer.alloc(padding(bytes.length))]);
}

function padding(length: number): number {
  return (4 - (length % 4)) % 4;
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(fd, bytes, done);
}

/** An entry that copies a file of this host, with its permissions. */
export function copyOf(from: string): Content {
  return { kind: "file", from, mode: statSync(from).mode & 0o777 };
}
