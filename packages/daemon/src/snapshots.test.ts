// Which snapshots of an app are kept, and on which others they are made.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { sporeError } from "@spore/errors";
import { afterEach, expect, test } from "vitest";
import { Snapshots } from "./snapshots.ts";

const folder = mkdtempSync(join(tmpdir(), "spore-snapshots-"));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const app = "shop";
const files = (): string[] =>
  readdirSync(join(folder, app)).map((name) => String(Number(basename(name, ".snap"))));

/** The first bytes of a snapshot that is made on another, or on none. */
function head(base: string): Buffer {
  const bytes = Buffer.alloc(8192);
  bytes.write("SPORSNAP");
  bytes.writeUInt32LE(3, 8);
  bytes.writeBigUInt64LE(4096n, 320 + 6 * 24);
  bytes.writeBigUInt64LE(BigInt(base.length), 320 + 6 * 24 + 8);
  bytes.write(base, 4096);
  return bytes;
}

/** Takes one, as the monitor does: on the base unless that is not worth it. */
async function take(snapshots: Snapshots, number: number, alone = false): Promise<string | null> {
  let offered: string | null = null;
  await snapshots.take({ app, number }, async (path, base) => {
    offered = base === null ? null : String(Number(basename(base, ".snap")));
    writeFileSync(path, head(alone || base === null ? "" : basename(base)));
  });
  return offered;
}

test("one that is made on none is the base of those behind it, and stays as long as one of them", async () => {
  const snapshots = new Snapshots(folder);
  expect(await take(snapshots, 1)).toBe(null);
  for (let number = 2; number <= 12; number++) expect(await take(snapshots, number)).toBe("1");
  expect(files()).toEqual(["1", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]);
  // Too little of 13 stood in 1.
  expect(await take(snapshots, 13, true)).toBe("1");
  for (let number = 14; number <= 23; number++) expect(await take(snapshots, number)).toBe("13");
  expect(files()).toEqual(["13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23"]);
});

test("a base that does not fit any more is done without", async () => {
  const snapshots = new Snapshots(folder);
  await take(snapshots, 1);
  const offered: (string | null)[] = [];
  await snapshots.take({ app, number: 2 }, async (path, base) => {
    offered.push(base);
    if (base !== null)
      throw sporeError("SPORE_SNAPSHOT_DAMAGED", { file: base, problem: "its pages have changed" });
    writeFileSync(path, head(""));
  });
  expect(offered).toEqual(
    [join(folder, app, "000001.snap"), null].map((path) => path && expect.stringContaining("1.snap")),
  );
  expect(files()).toEqual(["1", "2"]);
});
