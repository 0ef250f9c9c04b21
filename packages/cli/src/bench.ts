/** What `spore bench` does: hands over to the measurements in benches/. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { sporeError } from "@spore/errors";
import { root } from "./checkout.ts";
import type { Context } from "./command.ts";

/** The flags of `spore bench`, as the parser gives them. */
export interface BenchFlags {
  readonly only: readonly string[];
  readonly json: boolean;
  readonly samples: number | undefined;
}

/** What benches/main.ts exports. */
interface Benches {
  readonly runBenches: (flags: BenchFlags, context: Context) => Promise<number>;
}

/** Carries out `spore bench`. */
export async function runBench(flags: BenchFlags, context: Context): Promise<number> {
  const path = join(root, "benches/main.ts");
  if (!existsSync(path)) throw sporeError("SPORE_NOT_BUILT", { what: "the benchmark suite", path });
  const benches = (await import(pathToFileURL(path).href)) as Benches;
  return benches.runBenches(flags, context);
}
