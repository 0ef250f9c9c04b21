import { join } from "node:path";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

const vars = join(root, "tests/fixtures/cloud-vars");

interface Release {
  readonly number: number;
  readonly live: boolean;
}

/** Where a deploy may be cut off; each is a step that has been recorded and not been done. */
const points = [
  "rollout.starting",
  "rollout.checking",
  "rollout.freezing",
  "rollout.switching",
  "rollout.draining",
  "rollout.live",
];

test("a daemon that is killed at any step of a deploy finishes it when it comes back", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "-e", "GREETING=0", vars]);
  for (const [index, point] of points.entries()) {
    await spore.kill();
    expect((await spore.up({ env: { SPORE_FAULT: point } })).status, point).toBe(0);
    const { status, stderr } = await spore.spore(["env", "app", "--set", `GREETING=${index + 1}`]);
    await spore.died();
    // The command says that it lost the daemon, not that the app is deployed.
    if (point !== "rollout.live") expect(status, `${point}: ${stderr}`).toBe(69);
    expect((await spore.up()).status, point).toBe(0);
    const live = async (): Promise<number | undefined> =>
      (await spore.json<Release[]>(["releases", "app"])).find((release) => release.live)?.number;
    await expect.poll(live, { timeout: 60_000 }).toBe(index + 2);
    const answer = await spore.get("app");
    expect(JSON.parse(answer.text), point).toEqual({ GREETING: String(index + 1) });
  }
  // Nothing runs that the daemon does not know.
  const known = async (): Promise<number[]> => {
    const { instances } = await spore.json<{ instances: { pid: number }[] }>(["ps"]);
    return instances.map(({ pid }) => pid).sort();
  };
  await expect
    .poll(async () => [await known(), [...spore.monitors()].sort()], { timeout: 30_000 })
    .toSatisfy(([a, b]: number[][]) => JSON.stringify(a) === JSON.stringify(b) && a?.length === 1);
}, 400_000);

test("a snapshot that is damaged is refused, and the app boots instead", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "100ms", vars]);
  const asleep = async (): Promise<number> =>
    (await spore.json<{ instances: unknown[] }>(["ps", "app"])).instances.length;
  await expect.poll(asleep, { timeout: 30_000 }).toBe(0);
  expect((await spore.get("app")).headers["x-spore-start"]).toBe("snapshot");
  await expect.poll(asleep, { timeout: 30_000 }).toBe(0);
  const { truncateSync } = await import("node:fs");
  truncateSync(join(spore.home, "snapshots/app/0000000001.snap"), 100_000);
  const answer = await spore.get("app");
  expect(answer).toMatchObject({ status: 200, text: "{}" });
  expect(answer.headers["x-spore-start"]).toBe("cold");
  expect((await spore.spore(["events", "app"])).stdout).toMatch(/snapshot\.refused app r1 \S+ why=/);
});

test("a port that is taken is named", async () => {
  await using spore = await cloud();
  await using other = await cloud();
  await other.kill();
  const { status, stderr } = await other.spore(["up", "--port", String(spore.port)]);
  expect(status).toBe(69);
  expect(stderr).toMatch(
    new RegExp(`error\\[SPORE_PORT_TAKEN\\]: 127.0.0.1:${spore.port} is already in use`),
  );
  expect((await other.up()).status).toBe(0);
});

test("an image that is missing is said, and comes back with the next deploy", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "100ms", "--no-snapshot", vars]);
  const { readdirSync, rmSync, statSync } = await import("node:fs");
  const blobs = join(spore.home, "images/blobs/sha256");
  await spore.kill();
  for (const name of readdirSync(blobs)) {
    if (statSync(join(blobs, name)).size > 1_000_000) rmSync(join(blobs, name));
  }
  await spore.up();
  await expect.poll(() => spore.monitors().length, { timeout: 30_000 }).toBe(0);
  const refused = await spore.get("app");
  expect(refused.status).toBe(502);
  expect(refused.text).toMatch(/^SPORE_START_FAILED: the app did not start: image .* is damaged/);
  await spore.json(["deploy", "--name", "app", vars]);
  expect((await spore.get("app")).status).toBe(200);
});
