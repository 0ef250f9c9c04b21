/** What a reference linker keeps of the same inputs, GNU ld with --gc-sections, and what ours does. */

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { collect } from "../src/collect.ts";
import { parse } from "../src/parse.ts";
import { resolve } from "../src/resolve.ts";
import { type Choice, select } from "../src/select.ts";

/** Kept sections, as `OBJECT:SECTION`, and the size of all of that name. */
export type Kept = ReadonlyMap<string, number>;

/** Constants that ld merges with equal ones of other objects, which we do not. */
const MERGED = /^\.rodata\.(cst|str)\d/;

/** What a choice keeps of an archive, here and with ld. */
export function keptByBoth(
  archive: string,
  choice: Choice,
  scratch: string,
): { ours: Kept; reference: Kept } {
  const input = parse(new Uint8Array(readFileSync(archive)));
  const selection = select(input.catalogue, choice);
  const resolved = resolve(input, selection.object);
  const ours = new Map<string, number>();
  for (const number of collect(resolved, selection).sections) {
    const source = resolved.objects[resolved.objectOf[number] ?? 0];
    if (!source) continue;
    const section = number - source.firstSection;
    const name = source.file.sectionName(section);
    const size = source.file.sections.sizes[section] ?? 0;
    if (size > 0 && !MERGED.test(name)) add(ours, `${source.name}:${name}`, size);
  }
  return { ours, reference: keptByLd(selection.object, archive, scratch) };
}

/** Links the generated object and an archive with ld; answers what it kept. */
function keptByLd(generated: Uint8Array, archive: string, scratch: string): Kept {
  writeFileSync(`${scratch}.o`, generated);
  const script = new URL("reference.ld", import.meta.url).pathname;
  const flags = [
    "-static",
    "-nostdlib",
    "--no-relax",
    "--gc-sections",
    "-z",
    "noexecstack",
    "-z",
    "max-page-size=4096",
  ];
  const output = ["--no-warn-rwx-segments", "-T", script, "-Map", `${scratch}.map`, "-o", `${scratch}.elf`];
  execFileSync("ld", [...flags, ...output, `${scratch}.o`, archive]);
  return parseMap(readFileSync(`${scratch}.map`, "utf8"), `${scratch}.o`);
}

/** Input sections of a map file's memory map that have a size and an address. */
function parseMap(map: string, generated: string): Kept {
  const text = map.slice(map.indexOf("Linker script and memory map")).replace(/^( \.\S+)\n +(?=0x)/gm, "$1 ");
  const kept = new Map<string, number>();
  for (const [, section, address, size, file] of text.matchAll(
    /^ (\.\S+|COMMON) +0x([0-9a-f]+) +0x([0-9a-f]+) (\S.*)$/gm,
  )) {
    if (section === undefined || file === undefined || Number.parseInt(address ?? "", 16) === 0) continue;
    const bytes = Number.parseInt(size ?? "", 16);
    const object = file === generated ? "generated" : (/\(([^)]+)\)$/.exec(file)?.[1] ?? file);
    if (bytes > 0 && !section.startsWith(".got") && !MERGED.test(section))
      add(kept, `${object}:${section}`, bytes);
  }
  return kept;
}

function add(kept: Map<string, number>, name: string, size: number): void {
  kept.set(name, (kept.get(name) ?? 0) + size);
}
