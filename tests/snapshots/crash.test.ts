// The monitor is killed while it writes a snapshot: there is the old one, or the new one, whole.
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { start } from "../support/process.ts";
import { folder } from "../support/programs.ts";
import { fixtures, serve, spore } from "../support/spore.ts";

const place = folder();
/** Where snapshots go, and nothing else. */
const kept = folder();
const file = join(kept, "server.snap");
const fixture = join(fixtures, "snapshot-server");

/** Freezes a server of its own, which is killed when it makes a call for the `when`-th time. */
async function killed(calls: string, when: number): Promise<void> {
  const orders = join(place, "orders.sock");
  await using server = await serve(8080, ["--orders", orders, fixture]);
  const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:signal=SIGKILL:when=${when}`];
  await using tracer = start("strace", ["-f", "-p", String(server.pid), ...inject]);
  await tracer.says("stderr", /attached/);
  const { status, stderr } = await spore(["snapshot", "--orders", orders, "-o", file]);
  expect(status).not.toBe(0);
  expect(stderr).toContain("SPORE_SNAPSHOT_FAILED");
  expect(await server.ended).toMatchObject({ status: 137 });
}

afterEach(() => {
  for (const name of readdirSync(kept)) rmSync(join(kept, name));
});

const rename = "rename,renameat,renameat2";

// Before it is whole, before it has a name, before it takes the old one's place.
for (const [calls, when] of [
  ["write", 2],
  ["fsync", 1],
  ["linkat", 1],
  [rename, 1],
] as const) {
  test(`at ${calls} ${when} the old one stays, or none`, { timeout: 120_000 }, async () => {
    await killed(calls, when);
    expect(readdirSync(kept)).not.toContain("server.snap");
    const first = await spore(["snapshot", fixture, "-o", file]);
    expect(first.status, first.stderr).toBe(0);
    const old = readFileSync(file);
    await killed(calls, when);
    expect(readFileSync(file).equals(old)).toBe(true);
  });
}

test("at the last call the new one is there, whole", { timeout: 120_000 }, async () => {
  await killed("fsync", 2);
  expect(readdirSync(kept)).toEqual(["server.snap"]);
  const { status, stderr } = await spore(["snapshot", "verify", file]);
  expect(status, stderr).toBe(0);
});
