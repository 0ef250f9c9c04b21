/**
 * Feeds damaged files to what reads them, for hours if need be; ./check does the
 * same for seconds (*.test.ts with fast-check).
 *
 *   tools/fuzz [MINUTES] [TARGET] [SEED]   default: 10 minutes for each target
 *   tools/fuzz corpus                      writes the corpora anew
 *
 * Each input is made from chance and one of the target's corpus. One that is answered
 * in a new way (another reason, other counts) joins the corpus of the run. What breaks a
 * promise (another error than the reader's own, files left behind, too much time or memory)
 * is written to build/fuzz and ends the target's run with status 1.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ElfError, parseArchive, RelocatableObject } from "../packages/elf/src/index.ts";
import { hostileFiles } from "../packages/elf/test/hostile.ts";
import { readAll } from "../packages/elf/test/read-all.ts";
import { everything, LinkError, link, parse } from "../packages/linker/src/index.ts";
import { select } from "../packages/linker/src/select.ts";
import { summarise } from "../packages/needs/src/index.ts";
import { patchSyscalls } from "../packages/patch/src/index.ts";
import { corpusFolder as imageCorpus, writeCorpus } from "./fuzz-images/corpus.ts";
import { mutated, type Random, randomFrom } from "./fuzz-images/mutations.ts";
import { digest, generators } from "./fuzz-images/targets.ts";

const root: string = resolve(import.meta.dirname, "..");
const elfCorpus: string = join(root, "packages/elf/corpus");
const kernel: string = join(root, "build/kernel.a");
const WINDOW = { address: 0x7f80_0020_0000, length: 4 << 20 };
const SLOW_MS = 10_000;
const LARGE_BYTES: number = 2 ** 30;
const LARGEST_CORPUS = 5000;

/** Something that reads files. */
interface Target {
  /** What inputs are made from. */
  readonly corpus: () => readonly Uint8Array[];
  readonly make: (corpus: readonly Uint8Array[], random: Random) => Uint8Array;
  /** Answers in words what became of an input; throws what must not happen. */
  readonly read: (bytes: Uint8Array) => string;
}

const filesOf = (folder: string): Uint8Array[] =>
  readdirSync(folder).map((file) => new Uint8Array(readFileSync(join(folder, file))));
const changed = (corpus: readonly Uint8Array[], random: Random): Uint8Array => {
  const bytes = corpus[random(corpus.length)] ?? new Uint8Array();
  if (random(20) > 0) return mutated(bytes, random);
  // Two files joined.
  const other = corpus[random(corpus.length)] ?? new Uint8Array();
  const [at, from] = [random(bytes.length + 1), random(other.length + 1)];
  return mutated(Buffer.concat([bytes.subarray(0, at), other.subarray(from)]), random);
};
const orReason = (read: () => string): string => {
  try {
    return read();
  } catch (error) {
    if (error instanceof ElfError || error instanceof LinkError) return error.reason;
    throw error;
  }
};
const elfFiles = { corpus: () => filesOf(elfCorpus), make: changed };
/** The object of the kernel, and a small one: the tables that a link generates. */
const objects = (): Uint8Array[] => {
  const bytes = readFileSync(kernel);
  const { catalogue } = parse(bytes);
  const generated = select(catalogue, everything(catalogue)).object;
  return [generated, ...parseArchive(bytes).members.map((member) => member.bytes)];
};

const targets: Readonly<Record<string, Target>> = {
  elf: { ...elfFiles, read: (bytes) => readAll(bytes) ?? "read" },
  patch: {
    ...elfFiles,
    read: (bytes) =>
      orReason(() => {
        const { counts, skipped } = patchSyscalls(bytes).report;
        const reasons = skipped.map(({ reason }) => reason);
        return [counts.syscall.patched, counts.cpuid.patched, ...reasons].join(" ");
      }),
  },
  needs: {
    ...elfFiles,
    read: (bytes) =>
      orReason(() => {
        const { graph, calls, imports } = summarise(bytes, {});
        return [graph?.nodes.length ?? "none", calls.length, imports.length].join(" ");
      }),
  },
  object: {
    corpus: objects,
    make: changed,
    read: (bytes) =>
      orReason(() => {
        const object = new RelocatableObject(bytes);
        for (let index = 0; index < object.symbols.count; index++) object.symbolName(index);
        for (let index = 0; index < object.sections.count; index++) object.sectionName(index);
        return "read";
      }),
  },
  link: {
    corpus: () => [new Uint8Array(readFileSync(kernel))],
    make: changed,
    read: (bytes) =>
      orReason(() => {
        const input = parse(bytes);
        link(input, everything(input.catalogue), WINDOW);
        return "linked";
      }),
  },
  ...Object.fromEntries(
    Object.entries(generators).map(([name, make]): [string, Target] => [
      `image-${name}`,
      {
        corpus: () => filesOf(imageCorpus),
        make: (corpus, random) => make(random, corpus),
        read: (bytes) => Object.entries(digest(bytes)).flat().join(" "),
      },
    ]),
  ),
};

/** The problem with an input, if there is one. */
function problemOf(
  target: Target,
  bytes: Uint8Array,
  answers: Set<string>,
): { problem?: string; isNew: boolean } {
  const before = process.memoryUsage().rss;
  // Processor time: the machine may do other things as well.
  const started = process.cpuUsage();
  let answer: string;
  try {
    answer = target.read(bytes);
  } catch (error) {
    return { problem: error instanceof Error ? (error.stack ?? error.message) : String(error), isNew: false };
  }
  const { user, system } = process.cpuUsage(started);
  const took = (user + system) / 1000;
  if (took > SLOW_MS) return { problem: `it took ${Math.round(took)} ms`, isNew: false };
  const grown = process.memoryUsage().rss - before;
  if (grown > LARGE_BYTES) return { problem: `it took ${grown >> 20} MiB`, isNew: false };
  const isNew = !answers.has(answer);
  answers.add(answer);
  return { isNew };
}

/** Runs one target; true if nothing was found. */
function run(name: string, target: Target, minutes: number, seed: number): boolean {
  const random = randomFrom(seed);
  const corpus = [...target.corpus()];
  const given = corpus.length;
  const answers = new Set<string>();
  const end = performance.now() + minutes * 60_000;
  let count = 0;
  for (; performance.now() < end; count++) {
    const bytes = count < given ? (corpus[count] ?? new Uint8Array()) : target.make(corpus, random);
    const { problem, isNew } = problemOf(target, bytes, answers);
    if (problem !== undefined) {
      const folder = join(root, "build/fuzz");
      mkdirSync(folder, { recursive: true });
      const path = join(folder, `${name}-${seed}-${count}`);
      writeFileSync(path, bytes);
      process.stdout.write(`fuzz: ${name}: ${problem}\nfuzz: the input is in ${path}\n`);
      return false;
    }
    if (isNew && count >= given && corpus.length < LARGEST_CORPUS) corpus.push(bytes);
  }
  const kinds = `${answers.size} kinds of answers`;
  process.stdout.write(`fuzz: ${name}: ${count} inputs from seed ${seed}, ${kinds}, nothing found\n`);
  return true;
}

function writeCorpora(): void {
  rmSync(elfCorpus, { recursive: true, force: true });
  mkdirSync(elfCorpus, { recursive: true });
  for (const [name, make] of Object.entries(hostileFiles))
    writeFileSync(join(elfCorpus, `${name}.elf`), make());
  writeCorpus();
}

const [first = "10", wanted = "all", seed = String(Date.now() % 2 ** 31)] = process.argv.slice(2);
if (first === "corpus") {
  writeCorpora();
} else {
  const minutes = Number(first);
  const chosen = Object.entries(targets).filter(([name]) => wanted === "all" || name === wanted);
  if (!(minutes > 0) || chosen.length === 0 || !/^\d+$/.test(seed)) {
    const names = ["all", ...Object.keys(targets)].join("|");
    process.stderr.write(`usage: tools/fuzz [MINUTES] [${names}] [SEED], or tools/fuzz corpus\n`);
    process.exitCode = 64;
  } else {
    const results = chosen.map(([name, target]) => run(name, target, minutes, Number(seed)));
    process.exitCode = results.every(Boolean) ? 0 : 1;
  }
}
