// Going on from the same snapshot again: at once, and as another machine each time.
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type Ended, run } from "../support/process.ts";
import { folder } from "../support/programs.ts";
import { root, spore } from "../support/spore.ts";

const FROM_RECORD = "debug: started from the launch record\n";
const LONG_WAY = /^debug: the long way: /m;

const place = folder();
const file = join(place, "once.snap");

/** Says who it is when it goes on, and ends. */
const PROGRAM = `
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { onRestore, ready } from "@spore/sdk";
onRestore(() => {
  console.log(JSON.stringify({
    hostname: hostname(),
    file: readFileSync("/etc/hostname", "utf8").trim(),
    word: process.env.WORD ?? null,
    random: Math.random(),
  }));
  process.exit(7);
});
if (process.env.COLD) process.exit(9);
setInterval(() => {}, 1000);
ready();
`;

/** What was written a moment ago may change again unnoticed: no record is left of it. */
function writeOld(path: string, text: string | Uint8Array): void {
  writeFileSync(path, text);
  const old = new Date(Date.now() - 10_000);
  utimesSync(path, old, old);
}

/** `spore run` through the launcher, which may start it without Node.js. */
function again(...words: string[]): Promise<Ended> {
  return run(join(root, "spore"), ["run", "--quiet", ...words], {
    cwd: place,
    env: { SPORE_DEBUG: "1", SPORE_HOME: join(place, "store") },
  });
}

beforeAll(async () => {
  const project = join(place, "once");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), '{"name":"once","type":"module"}');
  writeFileSync(join(project, "index.js"), PROGRAM);
  const taken = await spore(["snapshot", project, "-o", file, "--ready", "signal"], {
    env: { SPORE_HOME: join(place, "store") },
  });
  expect(taken.status, taken.stderr).toBe(0);
}, 60_000);

describe("a snapshot that is run again", () => {
  test("starts from the launch record, and is another machine", async () => {
    const ends = [await again(file), await again(file), await again(file)];
    expect(ends.map(({ status }) => status)).toEqual([7, 7, 7]);
    expect(ends.map(({ stderr }) => stderr.includes(FROM_RECORD))).toEqual([false, true, true]);
    const said = ends.map(({ stdout }) => JSON.parse(stdout) as Record<string, unknown>);
    expect(new Set(said.map(({ hostname }) => hostname)).size).toBe(3);
    expect(new Set(said.map(({ random }) => random)).size).toBe(3);
    for (const { hostname, file } of said) {
      expect(hostname).toMatch(/^spore-[0-9a-f]{8}$/);
      expect(file).toBe(hostname);
    }
  });

  test("takes the long way once its file or its environment has changed", async () => {
    const env = join(place, "word.env");
    writeOld(env, "WORD=one\n");
    const words = ["--env-file", env, file];
    await again(...words);
    const second = await again(...words);
    expect(second.stderr).toContain(FROM_RECORD);
    expect(JSON.parse(second.stdout)).toMatchObject({ word: "one" });
    writeOld(env, "WORD=two\n");
    const changed = await again(...words);
    expect(changed.stderr).toMatch(LONG_WAY);
    expect(JSON.parse(changed.stdout)).toMatchObject({ word: "two" });
    const copy = join(place, "copy.snap");
    const bytes = readFileSync(file);
    writeOld(copy, bytes);
    await again("-e", "COLD=1", copy);
    expect((await again("-e", "COLD=1", copy)).stderr).toContain(FROM_RECORD);
    const middle = bytes.length >> 1;
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
    writeOld(copy, bytes);
    const refused = await again("-e", "COLD=1", copy);
    expect(refused.status).toBe(9);
    expect(refused.stderr).toMatch(LONG_WAY);
    expect(refused.stderr).toContain("SPORE_SNAPSHOT_DAMAGED");
  });

  test.each([["--memory", "64"], ["--trace"], ["--gdb", "1234"], ["--without", "epoll"], ["--cwd", "/tmp"]])(
    "refuses %s, which was decided when it was taken",
    async (...words) => {
      const { status, stderr } = await spore(["run", ...words, file]);
      expect(status).toBe(64);
      expect(stderr).toMatch(
        new RegExp(`^error\\[SPORE_USAGE\\]: ${words[0]} is decided when a snapshot is taken`),
      );
    },
  );

  test("refuses arguments for a program that runs already", async () => {
    const { status, stderr } = await spore(["run", file, "--", "one"]);
    expect(status).toBe(64);
    expect(stderr).toContain("-- ARG is decided when a snapshot is taken");
  });
});
