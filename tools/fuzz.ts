/**
 * Feeds damaged files to what reads them, for hours if need be; ./check does the
 * same for seconds (*.test.ts with fast-check).
 *
 *   tools/fuzz [MINUTES] [TARGET]   default: 10 minutes for each target
 *   tools/fuzz corpus               writes packages/elf/corpus anew
 *
 * Each input is made from one of the corpus by changing bytes, numbers and
 * length, and from two by joining them. One that is answered in a new way
 * (another reason, other counts) joins the corpus of the run. What throws
 * anything but the reader's own error, or takes too long or too much memory, is
 * written to build/fuzz and ends the run with status 1.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ElfError } from "../packages/elf/src/index.ts";
import { hostileFiles } from "../packages/elf/test/hostile.ts";
import { readAll } from "../packages/elf/test/read-all.ts";
import { patchSyscalls } from "../packages/patch/src/index.ts";

const root: string = resolve(import.meta.dirname, "..");
const corpusFolder: string = join(root, "packages/elf/corpus");
const SLOW_MS = 10_000;
const LARGE_BYTES: number = 2 ** 30;
/** Numbers at which formats break. */
const EDGES: readonly bigint[] = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffn,
  0xffffn,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** Answers in words what became of an input; throws what must not happen. */
type Target = (bytes: Uint8Array) => string;

const targets: Readonly<Record<string, Target>> = {
  elf: (bytes) => readAll(bytes) ?? "read",
  patch: (bytes) => {
    try {
      const { counts, skipped } = patchSyscalls(bytes).report;
      return [counts.syscall.patched, counts.cpuid.patched, ...skipped.map(({ reason }) => reason)].join(" ");
    } catch (error) {
      if (error instanceof ElfError) return error.reason;
      throw error;
    }
  },
};

/** Numbers that look random and are the same for the same seed. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    this.#state >>>= 0;
    return limit > 0 ? this.#state % limit : 0;
  }

  of<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new Error("nothing to choose from");
    return item;
  }
}

function mutate(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes: Uint8Array = random.of(corpus).slice();
  if (random.below(20) === 0) {
    const other = random.of(corpus);
    const at = random.below(bytes.length + 1);
    bytes = new Uint8Array([...bytes.subarray(0, at), ...other.subarray(random.below(other.length + 1))]);
  }
  if (random.below(10) === 0) bytes = bytes.slice(0, random.below(bytes.length + 1));
  for (let count = 1 + random.below(8); count > 0 && bytes.length > 8; count--) {
    // Headers come first: half of all changes go there.
    const at = random.below(random.below(2) === 0 ? Math.min(512, bytes.length - 8) : bytes.length - 8);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    switch (random.below(4)) {
      case 0:
        view.setUint8(at, random.below(256));
        break;
      case 1:
        view.setUint32(at, Number(BigInt.asUintN(32, random.of(EDGES))), true);
        break;
      case 2:
        view.setBigUint64(at - (at % 8), random.of(EDGES), true);
        break;
      default:
        bytes.copyWithin(at, random.below(bytes.length - 8), random.below(bytes.length));
    }
  }
  return bytes;
}

/** The problem with an input, if there is one. */
function problemOf(
  target: Target,
  bytes: Uint8Array,
  answers: Set<string>,
): { problem?: string; isNew: boolean } {
  const before = process.memoryUsage().rss;
  const started = performance.now();
  let answer: string;
  try {
    answer = target(bytes);
  } catch (error) {
    return { problem: error instanceof Error ? (error.stack ?? error.message) : String(error), isNew: false };
  }
  const took = performance.now() - started;
  if (took > SLOW_MS) return { problem: `it took ${Math.round(took)} ms`, isNew: false };
  const grown = process.memoryUsage().rss - before;
  if (grown > LARGE_BYTES) return { problem: `it took ${grown >> 20} MiB`, isNew: false };
  const isNew = !answers.has(answer);
  answers.add(answer);
  return { isNew };
}

/** Runs one target; true if nothing was found. */
function run(name: string, target: Target, minutes: number): boolean {
  const seed = Date.now() >>> 0;
  const random = new Random(seed);
  const corpus: Uint8Array[] = readdirSync(corpusFolder).map(
    (file) => new Uint8Array(readFileSync(join(corpusFolder, file))),
  );
  const answers = new Set<string>();
  const end = performance.now() + minutes * 60_000;
  let count = 0;
  for (; performance.now() < end; count++) {
    const bytes = count < corpus.length ? (corpus[count] ?? new Uint8Array()) : mutate(corpus, random);
    const { problem, isNew } = problemOf(target, bytes, answers);
    if (problem !== undefined) {
      const folder = join(root, "build/fuzz");
      mkdirSync(folder, { recursive: true });
      const path = join(folder, `${name}-${seed}-${count}`);
      writeFileSync(path, bytes);
      process.stdout.write(`fuzz: ${name}: ${problem}\nfuzz: the input is in ${path}\n`);
      return false;
    }
    if (isNew && count >= corpus.length && corpus.length < 5000) corpus.push(bytes);
  }
  process.stdout.write(`fuzz: ${name}: ${count} inputs, ${answers.size} kinds of answers, nothing found\n`);
  return true;
}

const [first = "10", wanted] = process.argv.slice(2);
if (first === "corpus") {
  mkdirSync(corpusFolder, { recursive: true });
  for (const [name, make] of Object.entries(hostileFiles))
    writeFileSync(join(corpusFolder, `${name}.elf`), make());
} else {
  const minutes = Number(first);
  const chosen = Object.entries(targets).filter(([name]) => wanted === undefined || name === wanted);
  if (!(minutes > 0) || chosen.length === 0) {
    process.stderr.write(
      `usage: tools/fuzz [MINUTES] [${Object.keys(targets).join("|")}], or tools/fuzz corpus\n`,
    );
    process.exitCode = 64;
  } else {
    const results = chosen.map(([name, target]) => run(name, target, minutes));
    process.exitCode = results.every(Boolean) ? 0 : 1;
  }
}
