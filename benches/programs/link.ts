/**
 * Links a library OS in a process that has done nothing else, as a build does. Usage:
 * node link.ts ARCHIVE NEEDS: prints the milliseconds from the bytes of the archive to those of the kernel.
 */

import { readFileSync } from "node:fs";
import { choose, link, parse, type Wishes } from "@spore/linker";

const [archive = "", wishes = ""] = process.argv.slice(2);
const bytes = readFileSync(archive);
const asked = JSON.parse(readFileSync(wishes, "utf8")) as Wishes;
const window = { address: 0x7f80_0020_0000, length: 4 << 20 };
const started = performance.now();
const input = parse(bytes);
link(input, choose(input.catalogue, asked), window);
process.stdout.write(`${performance.now() - started}\n`);
