import { join } from "node:path";
import { expect, test } from "vitest";
import { type Cloud, cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

const vars = join(root, "tests/fixtures/cloud-vars");

/** Waits until nothing of the app runs and one machine stands by; which. */
async function standby(spore: Cloud): Promise<number> {
  const state = (): number[] => [spore.monitors().length, spore.standbys().length];
  await expect.poll(state, { timeout: 30_000 }).toEqual([0, 1]);
  return spore.standbys()[0] ?? 0;
}

test("an app that sleeps is woken in a machine that stands by, and another takes its place", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "500ms", vars]);
  const first = await standby(spore);
  expect((await spore.get("app")).headers["x-spore-start"]).toBe("snapshot");
  expect(spore.monitors()).toEqual([first]);
  const second = await standby(spore);
  expect(second).not.toBe(first);

  // One that is gone is not missed.
  process.kill(second, "SIGKILL");
  expect(await spore.get("app")).toMatchObject({ status: 200 });
  expect(spore.monitors()).not.toContain(second);
  const third = await standby(spore);

  // Another release has no use for it.
  await spore.json(["env", "app", "--set", "GREETING=new"]);
  const fourth = await standby(spore);
  expect(fourth).not.toBe(third);
  expect((await spore.get("app")).text).toBe('{"GREETING":"new"}');

  // What runs in such a machine outlives the daemon, what stands by does not.
  await standby(spore);
  await spore.get("app");
  await spore.kill();
  await expect.poll(() => spore.standbys(), { timeout: 30_000 }).toEqual([]);
  await spore.up();
  expect(await spore.get("app")).toMatchObject({ status: 200, text: '{"GREETING":"new"}' });

  await spore.json(["rm", "--yes", "app"]);
  await expect
    .poll(() => [spore.monitors().length, spore.standbys().length], { timeout: 30_000 })
    .toEqual([0, 0]);
}, 120_000);

test("a request that went to a machine which never came to run gets another start", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "1h", vars]);
  for (const pid of spore.monitors()) process.kill(pid, "SIGKILL");
  const hangs = await standby(spore);
  process.kill(hangs, "SIGSTOP");
  const answer = spore.get("app");
  const starting = async (): Promise<number> => {
    const { instances } = await spore.json<{ instances: { state: string }[] }>(["ps", "app"]);
    return instances.filter(({ state }) => state === "starting").length;
  };
  await expect.poll(starting, { timeout: 30_000 }).toBe(1);
  process.kill(hangs, "SIGKILL");
  expect(await answer).toMatchObject({ status: 200 });
}, 120_000);

test("every instance has a host name and an id of its own", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "100ms", vars]);
  const names = new Set<string>();
  for (let round = 0; round < 3; round += 1) {
    await standby(spore);
    names.add((await spore.get("app", "/name")).text);
  }
  expect(names.size).toBe(3);
  for (const name of names) expect(name).toMatch(/^app-[0-9a-f]{6} \S+$/);
}, 120_000);

test("no more machines stand by than may, and those of apps that are called more often", async () => {
  await using spore = await cloud(["--standby", "1"]);
  for (const name of ["rare", "often"]) {
    await spore.json(["deploy", "--name", name, "--idle", "200ms", vars]);
    await standby(spore);
  }
  // Called a second time after longer than the other has waited, it does not take its place.
  const own = await standby(spore);
  await spore.get("rare");
  expect(spore.monitors()).not.toContain(own);
  expect(await standby(spore)).toBe(own);
  await spore.get("often");
  expect(spore.monitors()).toEqual([own]);
}, 120_000);

test("what stands by takes no memory that the tenant's instances have, and is there when they are not", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "2s", vars]);
  await standby(spore);
  const { release } = await spore.json<{ release: { memory: number } }>(["inspect", "app"]);
  await spore.json(["tenant", "default", "--quota", `memory=${release.memory + 1}`]);
  const own = spore.standbys();
  expect((await spore.get("app")).headers["x-spore-start"]).toBe("snapshot");
  expect(spore.monitors()).toEqual(own);
  // Beside the instance there is no room for the next, which would come at once.
  await expect
    .poll(
      () => {
        expect(spore.monitors().length + spore.standbys().length).toBeLessThan(2);
        return spore.monitors().length;
      },
      { timeout: 30_000 },
    )
    .toBe(0);
  expect(await standby(spore)).not.toBe(own[0]);
}, 120_000);
