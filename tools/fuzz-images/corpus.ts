/** The corpus of hostile images, one for each thing that is refused; `tools/fuzz corpus` writes it. */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hostileCases } from "./hostile-cases.ts";

/** Where it is kept. */
export const corpusFolder: string = join(import.meta.dirname, "corpus");

/** Writes it anew. */
export function writeCorpus(): void {
  rmSync(corpusFolder, { recursive: true, force: true });
  mkdirSync(corpusFolder, { recursive: true });
  for (const [name, make] of Object.entries(hostileCases))
    writeFileSync(join(corpusFolder, `${name}.tar`), make());
}
