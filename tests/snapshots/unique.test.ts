// The first line of the contract: nothing random comes twice, however many machines
// are made from one snapshot, and from snapshots of those.
//
// SPORE_RESTORES says how many of each kind; the number behind the promise is 10,000.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, compileGo, folder } from "../support/programs.ts";
import { pythonIncludes } from "../support/python.ts";
import { fixtures, spore } from "../support/spore.ts";

const place = folder();
/** Restores of each program. */
const restores = Number(process.env["SPORE_RESTORES"] ?? 40);
/** How many machines run at a time. */
const AT_ONCE = 100;
const patience = 300_000 + restores * 1_000;

interface Drawn {
  readonly generation: number;
  /** Number of the line, if a machine says more than one. */
  readonly part?: number;
  readonly values: readonly (string | number)[];
}

async function take(name: string, ...words: string[]): Promise<string> {
  const file = join(place, `${name}.snap`);
  const taken = await spore(["snapshot", "-o", file, "--ready", "signal", ...words], { deadline: patience });
  expect(taken.status, taken.stderr).toBe(0);
  return file;
}

/** Restores a snapshot `count` times; each machine draws, says what, and ends. */
async function draw(file: string, count: number): Promise<readonly Drawn[]> {
  const drawn: Drawn[] = [];
  let machines = 0;
  while (machines < count) {
    const now = Math.min(AT_ONCE, count - machines);
    const { stderr, status } = await spore(["fork", file, "-n", String(now)], { deadline: 120_000 });
    expect(status, stderr).toBe(0);
    const lines = stderr.split("\n").filter((line) => line.startsWith("drawn "));
    const said = lines.map((line) => JSON.parse(line.slice("drawn ".length)) as Drawn);
    expect(said.filter(({ part = 0 }) => part === 0).length).toBe(now);
    drawn.push(...said);
    machines += now;
  }
  return drawn;
}

/** Values that came more than once. */
function repeated(drawn: readonly Drawn[]): readonly (string | number)[] {
  const seen = new Set<string | number>();
  return drawn.flatMap(({ values }) => values).filter((value) => seen.size === seen.add(value).size);
}

for (const major of [22, 24, 26]) {
  test(`Node.js ${major}: crypto, Math.random, TLS, a worker`, { timeout: patience }, async () => {
    const file = await take(`node${major}`, "--node", String(major), join(fixtures, "unique"));
    const drawn = await draw(file, restores);
    expect(drawn.flatMap(({ values }) => values).length).toBeGreaterThan(200 * restores);
    expect(repeated(drawn)).toEqual([]);
  });
}

test("python: os.urandom, uuid, tempfile, ssl, random with the seed it was told", {
  timeout: patience,
}, async () => {
  const program = readFileSync(join(fixtures, "programs/unique.py"), "utf8");
  const includes = await pythonIncludes("_ssl", "_hashlib");
  const file = await take("python", "/usr/bin/python3", ...includes, "--", "-c", program);
  expect(repeated(await draw(file, restores))).toEqual([]);
});

test("Go: crypto/rand, a generator with the seed it was told", { timeout: patience }, async () => {
  const file = await take("go", compileGo(place, "unique.go"));
  expect(repeated(await draw(file, restores))).toEqual([]);
});

test("C: getrandom, /dev/urandom, mkstemp, told by SIGCONT", { timeout: patience }, async () => {
  const file = await take("c", compile(place, "unique.c", "gcc"));
  expect(repeated(await draw(file, restores))).toEqual([]);
});
