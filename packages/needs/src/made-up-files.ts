/** Files that the library OS makes up, by the names that stand in programs. */

import { type ElfFile, SegmentFlag } from "@spore/elf";

const FOLDERS = ["/proc", "/sys", "/dev"];
const LONGEST = 256;

/** The name of such a file as text at an address, or undefined. */
export function madeUpFileAt(elf: ElfFile, address: number): string | undefined {
  const load = elf.loads.find((each) => address >= each.vaddr && address < each.vaddr + each.fileSize);
  if (!load || (load.flags & SegmentFlag.execute) !== 0) return undefined;
  const { bytes } = elf.view;
  const start = load.offset + address - load.vaddr;
  if (bytes[start] !== 0x2f) return undefined;
  let end = start;
  const limit = Math.min(load.offset + load.fileSize, start + LONGEST);
  while (end < limit && isText(bytes[end] ?? 0)) end++;
  return nameOfMadeUpFile(latin1.decode(bytes.subarray(start, end)));
}

/** All such names in the data of a file, sorted. */
export function madeUpFiles(elf: ElfFile): string[] {
  const found = new Set<string>();
  for (const load of elf.loads) {
    if ((load.flags & SegmentFlag.execute) !== 0) continue;
    const bytes = elf.view.slice(load.offset, load.fileSize, "a segment");
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    for (const folder of FOLDERS) {
      for (let at = data.indexOf(folder); at >= 0; at = data.indexOf(folder, at + 1)) {
        // Part of a longer path.
        if (NAME.has(data[at - 1] ?? 0)) continue;
        let end = at;
        while (end < at + LONGEST && (data[end] === 0x2f || NAME.has(data[end] ?? 0))) end++;
        const name = nameOfMadeUpFile(data.toString("latin1", at, end));
        if (name !== undefined) found.add(name);
      }
    }
  }
  return [...found].sort();
}

/** Bytes that may stand in the name of such a file, or in a format for it. */
const NAME: ReadonlySet<number> = new Set(
  Buffer.from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_%.*-", "latin1"),
);

const latin1 = new TextDecoder("latin1");

/**
 * What a text names: /proc/%d/stat is a file of any process, here `self`; other
 * formats stand for everything below.
 */
export function nameOfMadeUpFile(text: string): string | undefined {
  const [path = ""] = text.split(/[\s:"'=,;)]/);
  if (!FOLDERS.some((folder) => path === folder || path.startsWith(`${folder}/`))) return undefined;
  const parts = path.split("/").filter((part) => part !== "");
  const named = parts.map((part, index) =>
    index === 1 && parts[0] === "proc" && /^(%\w+|\d+|thread-self)$/.test(part) ? "self" : part,
  );
  // Links, and the same files of threads.
  if (named[0] === "proc" && (named[1] === "net" || named[1] === "mounts")) named.splice(1, 0, "self");
  if (named[1] === "self" && named[2] === "task" && named.length > 4) named.splice(2, 2);
  const open = named.findIndex((part) => part.includes("%") || part.includes("*"));
  return `/${(open < 0 ? named : [...named.slice(0, open), "*"]).join("/")}`;
}

function isText(byte: number): boolean {
  return byte > 0x20 && byte < 0x7f;
}
