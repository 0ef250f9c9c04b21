import type { Scaling } from "@spore/api";
import { describe, expect, test } from "vitest";
import { defaultSettings } from "../cloud/apps.ts";
import { testCloud } from "../test-cloud.ts";
import { testDriver } from "../test-driver.ts";
import { Autoscaler, Load } from "./autoscaler.ts";

const scaling: Scaling = { ...defaultSettings.scaling, concurrency: 100, target: 10, max: 50 };

describe("the mean of a load", () => {
  test("is taken over time, not over changes", () => {
    const load = new Load(0, 1000);
    load.set(0, 10);
    load.set(3000, 0);
    expect(load.mean(4000, 60_000)).toBeCloseTo(7.5);
    load.set(4000, 40);
    expect(load.mean(6000, 2000)).toBeCloseTo(40);
    expect(load.mean(6000, 60_000)).toBeCloseTo((30 + 80) / 6);
  });

  test("forgets what is older than the window, however long nobody asks", () => {
    const load = new Load(0, 1000);
    load.set(0, 10);
    load.set(1000, 0);
    expect(load.mean(3_600_000, 60_000)).toBe(0);
    load.set(3_600_000, 5);
    expect(load.mean(7_200_000, 60_000)).toBeCloseTo(5);
  });
});

describe("an autoscaler", () => {
  test("asks for as many as have their target on average, within the most", () => {
    const scaler = new Autoscaler();
    scaler.load(0, 25);
    expect(scaler.desired(60_000, 3, scaling)).toBe(3);
    expect(scaler.desired(60_000, 3, { ...scaling, burst: 10 })).toBe(4);
    expect(scaler.desired(60_000, 3, { ...scaling, max: 2 })).toBe(2);
    expect(scaler.desired(60_000, 3, { ...scaling, target: null })).toBe(1);
  });

  test("asks for nothing, burst or not, where nobody calls", () => {
    expect(new Autoscaler().desired(0, 1, { ...scaling, burst: 100 })).toBe(0);
  });

  test("does not let a slow rise start more than its long window shows", () => {
    const scaler = new Autoscaler();
    scaler.load(0, 10);
    scaler.load(60_000, 15);
    expect(scaler.desired(66_000, 2, scaling)).toBe(2);
  });

  test("panics at twice as many, and takes nothing away for a window after that", () => {
    const scaler = new Autoscaler();
    scaler.load(0, 10);
    scaler.load(60_000, 100);
    // The long window has hardly noticed: 10 + 90 * 6 / 60.
    expect(scaler.desired(66_000, 1, scaling)).toBe(10);
    scaler.load(66_000, 10);
    expect(scaler.desired(100_000, 10, scaling)).toBe(10);
    // It ends a window after the last time that it was needed.
    expect(scaler.desired(66_000 + 60_001, 10, scaling)).toBe(1);
  });
});

describe("a pool", () => {
  /** Requests that wait until they are let go. */
  function held() {
    const waiting: (() => void)[] = [];
    return {
      answer: () =>
        new Promise<{ status: number; text: string }>((resolve) => {
          waiting.push(() => resolve({ status: 200, text: "" }));
        }),
      waiting,
    };
  }

  test("starts another instance before the first is full", async () => {
    const { answer, waiting } = held();
    const driver = testDriver({ answer });
    await using cloud = await testCloud(driver);
    cloud.app("a", { concurrency: 100, target: 2, windowMs: 60, panicWindowMs: 6 });
    const asked = [];
    while (driver.launched.length < 2) {
      asked.push(cloud.get("a.localhost"));
      await new Promise((resolve) => setTimeout(resolve, 2));
      if (asked.length > 90) throw new Error("no second instance was started");
    }
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) next();
    const done = Promise.all(asked);
    const timer = setInterval(() => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) next();
    }, 1);
    expect((await done).every(({ status }) => status === 200)).toBe(true);
    clearInterval(timer);
  });

  test("lets all of them sleep when nobody calls any more, whatever the averages say", async () => {
    const driver = testDriver();
    await using cloud = await testCloud(driver);
    cloud.app("a", { concurrency: 1, idleMs: 1, windowMs: 3_600_000, panicWindowMs: 3_600_000 });
    await Promise.all(Array.from({ length: 20 }, () => cloud.get("a.localhost")));
    expect(driver.launched.length).toBeGreaterThan(1);
    await expect.poll(() => cloud.fleet.members.size).toBe(0);
  });
});
