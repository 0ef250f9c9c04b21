/** What an image of the system's python needs beside what its ELF file names. */

import { join } from "node:path";
import { run } from "./process.ts";

/** Flags of `spore` that bring the library along, and what these modules of it are linked against. */
export async function pythonIncludes(...modules: readonly string[]): Promise<readonly string[]> {
  const ask = `import os, ${modules.join(", ")}; print(os.__file__, ${modules.map((name) => `${name}.__file__`).join(", ")})`;
  const [library = "", ...files] = (await run("/usr/bin/python3", ["-c", ask])).stdout.trim().split(" ");
  const linked = await Promise.all(files.map(async (file) => (await run("ldd", [file])).stdout));
  const needed = linked.flatMap((text) => [...text.matchAll(/=> (\/\S+)/g)].map((match) => match[1] ?? ""));
  const extra = needed.filter((path) => !/\/lib(c|m|pthread|dl)\.so/.test(path));
  return [join(library, ".."), ...new Set(extra)].flatMap((path) => ["--include", path]);
}
