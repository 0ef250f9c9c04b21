/**
 * `node tools/fuzz-images/main.ts [--minutes N] [--seed N]`: gives hostile images to
 * everything that reads one, for as long as wanted. An input that breaks a
 * promise is kept in build/fuzz and named; `--write-corpus` writes corpus/.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { hostileCases } from "./hostile-cases.ts";
import { randomFrom } from "./mutations.ts";
import { digest, generators } from "./targets.ts";

/** Where the corpus is kept. */
export const corpusFolder: string = join(import.meta.dirname, "corpus");
const SLOWEST_MS = 10_000;

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "10" },
      seed: { type: "string", default: String(Date.now() % 2 ** 31) },
      "write-corpus": { type: "boolean", default: false },
    },
  });
  if (values["write-corpus"]) writeCorpus();
  else process.exitCode = fuzz(Number(values.minutes) * 60_000, Number(values.seed));
}

function writeCorpus(): void {
  rmSync(corpusFolder, { recursive: true, force: true });
  mkdirSync(corpusFolder, { recursive: true });
  for (const [name, make] of Object.entries(hostileCases))
    writeFileSync(join(corpusFolder, `${name}.tar`), make());
}

function fuzz(ms: number, seed: number): number {
  const corpus = readdirSync(corpusFolder).map((name) => readFileSync(join(corpusFolder, name)));
  const outcomes = new Map<string, number>();
  const until = performance.now() + ms;
  let failures = 0;
  let count = 0;
  for (; performance.now() < until && failures < 10; count++) {
    for (const [name, generate] of Object.entries(generators)) {
      const input = generate(randomFrom(seed + count), corpus);
      const started = performance.now();
      try {
        const outcome = digest(input);
        const key = `${name}: ${Object.entries(outcome)
          .map(([step, code]) => `${step} ${code}`)
          .join(", ")}`;
        outcomes.set(key, (outcomes.get(key) ?? 0) + 1);
        const took = performance.now() - started;
        if (took > SLOWEST_MS) throw new Error(`it took ${Math.round(took)} ms`);
      } catch (error) {
        failures++;
        const folder = join(import.meta.dirname, "../../build/fuzz");
        mkdirSync(folder, { recursive: true });
        const kept = join(folder, `${name}-${seed + count}.tar`);
        writeFileSync(kept, input);
        console.error(`${kept}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      }
    }
  }
  for (const [outcome, times] of [...outcomes].sort((a, b) => b[1] - a[1]))
    console.log(`${times}\t${outcome}`);
  console.log(`${count} rounds from seed ${seed}, ${failures} failures`);
  return failures === 0 ? 0 : 1;
}
