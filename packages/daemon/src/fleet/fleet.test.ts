import type { Caller } from "@spore/gateway";
import { describe, expect, test } from "vitest";
import { releaseKey } from "../store/types.ts";
import { testCloud, testRelease } from "../test-cloud.ts";
import { type TestDriver, testDriver } from "../test-driver.ts";

const host = "a.localhost";

describe("an app that sleeps", () => {
  test("is woken once by all who call", async () => {
    const driver = testDriver();
    await using cloud = await testCloud(driver);
    cloud.app("a");
    const answers = await Promise.all(Array.from({ length: 100 }, () => cloud.get(host)));
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(answers.map(({ start }) => start)).toContain("cold");
    expect(driver.launched).toHaveLength(1);
  });

  test("loses no request of a client that calls at the moment of sleeping, ten thousand times", async () => {
    const driver = testDriver();
    await using cloud = await testCloud(driver);
    cloud.app("a", { idleMs: 0 });
    let wakes = 0;
    for (let round = 0; round < 10_000; round += 1) {
      const { status, text } = await cloud.get(host);
      if (status !== 200) throw new Error(`round ${round}: ${status} ${text}`);
      wakes = driver.launched.length;
      // Now before, now after the timer that puts it to sleep.
      if (round % 3 === 0) await new Promise(setImmediate);
      else if (round % 50 === 1) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(driver.late).toBe(0);
    expect(wakes).toBeGreaterThan(100);
  }, 120_000);

  test("that does not start gives an answer that says so, and is left alone for a while after failing again", async () => {
    const driver = testDriver({
      instead: (_, watch) => watch.ended({ kind: "exited", outcome: "exit status 3" }),
    });
    await using cloud = await testCloud(driver);
    cloud.app("a");
    for (let round = 0; round < 3; round += 1) {
      const { status, text } = await cloud.get(host);
      expect({ status, text }).toEqual({
        status: 502,
        text: "SPORE_START_FAILED: the app did not start: exit status 3 before it listened\n",
      });
    }
    expect((await cloud.get(host)).status).toBe(503);
    expect(driver.launched).toHaveLength(3);
  });

  test("that hangs is replaced once several requests went unanswered", async () => {
    let hangs = true;
    const driver = testDriver({
      answer: async ({ id }) => (hangs ? await new Promise(() => {}) : { status: 200, text: id }),
    });
    await using cloud = await testCloud(driver);
    cloud.app("a", {}, { requestTimeoutMs: 50, drainTimeoutMs: 10 });
    for (let request = 0; request < 3; request += 1) expect((await cloud.get(host)).status).toBe(504);
    hangs = false;
    expect((await cloud.get(host)).status).toBe(200);
    expect(driver.launched).toHaveLength(2);
    await expect
      .poll(() => cloud.store.list("instances").map(({ state, reason }) => `${state} ${reason}`))
      .toContain("stopped hung");
  });

  test("sleeps, wakes and waits after failures as before when the clock jumps", async () => {
    let fails = false;
    const driver = testDriver();
    await using cloud = await testCloud(driver);
    cloud.app("a", { idleMs: 20 });
    const real = Date.now;
    try {
      for (const hours of [-1000, 1000, 0]) {
        Date.now = () => real() + hours * 3_600_000;
        expect((await cloud.get(host)).status).toBe(200);
        await expect.poll(() => driver.running.size).toBe(0);
      }
      const failing = testDriver({
        instead: (_, watch) => watch.ended({ kind: "exited", outcome: "exit status 3" }),
      });
      await using other = await testCloud(failing);
      other.app("a");
      for (let round = 0; round < 3; round += 1) fails = (await other.get(host)).status === 502;
      expect(fails).toBe(true);
      // Neither at once nor only in a thousand hours.
      for (const hours of [-1000, 1000]) {
        Date.now = () => real() + hours * 3_600_000;
        expect((await other.get(host)).status).toBe(503);
      }
      Date.now = () => real() - 3_600_000;
      await expect.poll(async () => (await other.get(host)).status, { timeout: 5000 }).toBe(502);
    } finally {
      Date.now = real;
    }
    // Newer ids sort behind older ones, whatever the clock said.
    const ids = driver.launched.map(({ id }) => id);
    expect(ids).toEqual([...ids].sort());
  });

  test("that does not listen in time is given up with 504", async () => {
    const driver = testDriver({ instead: () => {} });
    await using cloud = await testCloud(driver);
    cloud.app("a", {}, { startTimeoutMs: 30 });
    expect((await cloud.get(host)).status).toBe(504);
    await expect.poll(() => cloud.fleet.members.size).toBe(0);
    const stopped = cloud.store.list("instances").map(({ reason }) => reason);
    expect(stopped).toEqual(["start-timeout"]);
  });
});

describe("scaling", () => {
  test("starts as many as the waiting requests need, and not more than the app may have", async () => {
    // Nobody is answered before all instances have as much as they take.
    const full = Promise.withResolvers<void>();
    let taken = 0;
    const driver = testDriver({
      answer: async ({ id }) => {
        taken += 1;
        if (taken === 15) full.resolve();
        await full.promise;
        return { status: 200, text: id };
      },
    });
    await using cloud = await testCloud(driver);
    cloud.app("a", { concurrency: 5, max: 3 });
    const answers = await Promise.all(Array.from({ length: 40 }, () => cloud.get(host)));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(driver.launched).toHaveLength(3);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(3);
  });

  test("goes back to nothing, but for what is to stay awake", async () => {
    const driver = testDriver();
    await using cloud = await testCloud(driver);
    cloud.app("a", { concurrency: 1, max: 5, idleMs: 1 });
    cloud.fleet.pool("a", 1).minimum = 2;
    cloud.fleet.pool("a", 1).ensureMinimum();
    await Promise.all(Array.from({ length: 10 }, () => cloud.get(host)));
    await expect.poll(() => driver.running.size).toBe(2);
    cloud.fleet.pool("a", 1).minimum = 0;
    cloud.fleet.pool("a", 1).onSettings();
    await expect.poll(() => driver.running.size).toBe(0);
  });

  test("lets an instance sleep only when its program has no reason of its own to stay awake", async () => {
    let holding = false;
    const driver: TestDriver = testDriver({
      // While it answers: afterwards it might be asleep already.
      answer: ({ id, app }) => {
        if (holding && app === "a") driver.watches.get(id)?.holds(2);
        return { status: 200, text: id };
      },
    });
    await using cloud = await testCloud(driver);
    cloud.app("a", { idleMs: 1 });
    const hold = async (): Promise<string> => {
      holding = true;
      const { text: id } = await cloud.get(host);
      holding = false;
      return id;
    };
    const id = await hold();
    // Others come and go meanwhile.
    cloud.app("b", { idleMs: 1 });
    await cloud.get("b.localhost");
    await expect.poll(() => [...driver.running.keys()]).toEqual([id]);
    driver.watches.get(id)?.holds(1);
    expect((await cloud.get(host)).text).toBe(id);
    driver.watches.get(id)?.holds(0);
    await expect.poll(() => driver.running.size).toBe(0);
    // Nor does it end because another release took over.
    const held = await hold();
    cloud.fleet.retire("a", 1, "superseded");
    expect([...driver.running.keys()]).toEqual([held]);
    driver.watches.get(held)?.holds(0);
    await expect.poll(() => driver.running.size).toBe(0);
  });

  test("replaces an instance that died, and never below the minimum", async () => {
    const driver = testDriver();
    await using cloud = await testCloud(driver);
    cloud.app("a");
    const pool = cloud.fleet.pool("a", 1);
    pool.minimum = 1;
    pool.ensureMinimum();
    await expect.poll(() => driver.running.size).toBe(1);
    for (const member of cloud.fleet.members.values()) member.handle?.kill();
    await expect.poll(() => driver.launched.length).toBe(2);
    expect(await cloud.get(host)).toMatchObject({ status: 200 });
  });
});

describe("of a release that is not asked for any more nothing is kept", () => {
  test("once its preview sleeps", async () => {
    const driver = testDriver();
    await using cloud = await testCloud(driver);
    cloud.app("a", { idleMs: 1 });
    cloud.store.put("releases", releaseKey("a", 2), testRelease("a", 2));
    for (const round of [1, 2]) {
      expect(await cloud.get("r2.a.localhost")).toMatchObject({ status: 200 });
      expect(driver.launched).toHaveLength(round);
      await expect.poll(() => cloud.fleet.pools("a")).toEqual([]);
    }
  });

  test("once another has taken over and it has answered; nor of an app that is gone", async () => {
    const answer = Promise.withResolvers<void>();
    const driver = testDriver({
      answer: async () => {
        await answer.promise;
        return { status: 200, text: "whole" };
      },
    });
    await using cloud = await testCloud(driver);
    for (const app of ["a", "b"]) cloud.app(app);
    const asked = ["a.localhost", "b.localhost"].map(cloud.get);
    await expect
      .poll(() => [...cloud.fleet.members.values()].map(({ inFlight }) => inFlight))
      .toEqual([1, 1]);
    const before = cloud.store.get("apps", "a");
    if (before !== null) cloud.store.put("apps", "a", { ...before, live: 2 });
    cloud.fleet.retire("a", 1, "superseded");
    cloud.fleet.retire("b", null, "requested");
    cloud.store.delete("apps", "b");
    cloud.fleet.forget("b");
    answer.resolve();
    for (const got of await Promise.all(asked)) expect(got).toMatchObject({ status: 200, text: "whole" });
    await expect.poll(() => [...cloud.fleet.pools("a"), ...cloud.fleet.pools("b")]).toEqual([]);
    expect(cloud.store.list("instances").map(({ app }) => app)).toEqual(["a"]);
  });
});

test("a queue that is full says when to come again, and who gives up makes room", async () => {
  // None of its instances ever listens.
  await using cloud = await testCloud(testDriver({ instead: () => {} }));
  cloud.app("a");
  const pool = cloud.fleet.pool("a", 1);
  const callers: Caller[] = [];
  const wait = (): void => {
    const caller: Caller = { onGone: null };
    const lease = pool.acquire(caller);
    if (lease instanceof Promise) lease.catch(() => {});
    callers.push(caller);
  };
  for (let count = 0; count < 2000; count += 1) wait();
  expect(await cloud.get(host)).toMatchObject({
    status: 503,
    text: expect.stringContaining("SPORE_OVERLOADED"),
  });
  expect(wait).toThrow(expect.objectContaining({ status: 503, retryAfter: 1 }));
  callers[0]?.onGone?.();
  expect(wait).not.toThrow();
});

test("a request that waits for a release when another takes over is answered by it", async () => {
  const listens = Promise.withResolvers<void>();
  const plain = testDriver();
  const driver = testDriver({
    instead: (spec, watch) => {
      if (driver.launched.length === 1) listens.resolve();
      else plain.launch(spec, watch);
    },
  });
  await using cloud = await testCloud(driver);
  cloud.app("a");
  const waits = cloud.get(host);
  await listens.promise;
  cloud.fleet.retire("a", 1, "superseded");
  expect(await waits).toMatchObject({ status: 200 });
  for (const server of plain.running.values()) server.close();
});

test("a quota of instances keeps a tenant from starting more", async () => {
  const driver = testDriver();
  await using cloud = await testCloud(driver);
  cloud.app("a");
  cloud.app("b");
  cloud.tenants.put("default", { instances: 1 });
  expect((await cloud.get(host)).status).toBe(200);
  expect(await cloud.get("b.localhost")).toMatchObject({
    status: 429,
    text: "SPORE_QUOTA: the tenant has used up its instances\n",
  });
});

test("quotas of memory and wakes hold too, and preview addresses count as others do", async () => {
  const driver = testDriver();
  await using cloud = await testCloud(driver);
  for (const app of ["a", "b", "c"]) cloud.app(app);
  // Each has 64 MiB.
  cloud.tenants.put("default", { memory: 128 << 20 });
  expect((await cloud.get(host)).status).toBe(200);
  expect((await cloud.get("b.localhost")).status).toBe(200);
  expect(await cloud.get("c.localhost")).toMatchObject({
    status: 429,
    text: "SPORE_QUOTA: the tenant has used up its memory\n",
  });
  cloud.tenants.put("default", { memory: null, wakesPerMinute: 0 });
  expect((await cloud.get("c.localhost")).status).toBe(429);
  expect((await cloud.get(host)).status).toBe(200);
  cloud.tenants.put("default", { requestsPerMinute: 0 });
  expect((await cloud.get(`r1.${host}`)).status).toBe(429);
});

test("every start and stop is told with its reason", async () => {
  const driver = testDriver();
  await using cloud = await testCloud(driver);
  cloud.app("a", { idleMs: 1 });
  await cloud.get(host);
  await expect.poll(() => driver.running.size).toBe(0);
  await expect.poll(() => cloud.fleet.members.size).toBe(0);
  const told = cloud.store
    .events({ after: 0, limit: 100 })
    .map(({ kind, details }) => [kind, details["reason"]]);
  expect(told).toEqual([
    ["instance.starting", "demand"],
    ["instance.ready", undefined],
    ["instance.stopped", "idle"],
  ]);
});
