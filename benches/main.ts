/**
 * `spore bench`: the numbers behind SPECIFICATION.md, each measured beside the
 * native program, in turn with it.
 */

import { sporeError } from "@spore/errors";
import { boot } from "./boot.ts";
import { build } from "./build.ts";
import { calls } from "./calls.ts";
import { fork, memory } from "./clones.ts";
import { cloud } from "./cloud.ts";
import { http } from "./http.ts";
import { idle } from "./idle.ts";
import { thisMachine } from "./machine.ts";
import { snapshot } from "./pause.ts";
import type { Row } from "./rows.ts";
import { table } from "./table.ts";
import { wake } from "./wake.ts";
import { Workshop } from "./workshop.ts";

/** The flags of `spore bench`. */
export interface BenchFlags {
  /** Names of benchmarks; empty: all. */
  readonly only: readonly string[];
  readonly json: boolean;
  /** Boots and wakes that are timed, of each kind; undefined: as many as the figures need. */
  readonly samples: number | undefined;
}

/** Where the results go. */
export interface Output {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

const benches: Readonly<Record<string, (shop: Workshop) => Promise<Row[]>>> = {
  boot,
  build,
  calls,
  idle,
  http,
  wake,
  cloud,
  fork,
  snapshot,
  memory,
};

/** Measures and prints; the result is the exit status. */
export async function runBenches(flags: BenchFlags, { out, err }: Output): Promise<number> {
  const unknown = flags.only.find((name) => !Object.hasOwn(benches, name));
  if (unknown !== undefined) {
    const next = `there are ${Object.keys(benches).join(", ")}`;
    throw sporeError("SPORE_USAGE", { problem: `no benchmark "${unknown}"`, command: "bench" }, { next });
  }
  const wanted = flags.only.length === 0 ? Object.keys(benches) : flags.only;
  const machine = thisMachine();
  const { backend, cpu, processors, kernel, load } = machine;
  const about = `${backend} on ${cpu}, ${processors.length} processors, Linux ${kernel}, load ${load}`;
  err(`spore bench: ${about}\n`);
  using shop = new Workshop(flags.samples, (text) => err(`${text}\n`));
  const rows: Row[] = [];
  for (const name of wanted) {
    const found = (await benches[name]?.(shop)) ?? [];
    if (flags.json) for (const row of found) out(`${JSON.stringify({ ...row, machine })}\n`);
    rows.push(...found);
  }
  if (!flags.json) out(`${about}\n\n${table(rows)}`);
  return 0;
}
