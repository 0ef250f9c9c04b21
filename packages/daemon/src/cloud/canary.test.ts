import { expect, onTestFinished, test } from "vitest";
import { memoryStore } from "../store/memory.ts";
import { defaultSettings } from "./apps.ts";
import { CanaryWatch } from "./canary.ts";

function watch() {
  const store = memoryStore();
  store.put("apps", "a", {
    name: "a",
    tenant: "default",
    project: "default",
    createdAt: 0,
    live: 1,
    canary: { release: 2, percent: 10 },
    lastRelease: 2,
    settings: defaultSettings,
  });
  const returned: string[] = [];
  const health: (string | null)[] = [];
  let asked = 0;
  let hangs: Promise<string> | null = null;
  const hang = (): ((problem: string) => void) => {
    const { promise, resolve } = Promise.withResolvers<string>();
    hangs = promise;
    void promise.then(() => {
      hangs = null;
    });
    return resolve;
  };
  const watched = new CanaryWatch(
    store,
    { returnCanary: (app, why) => void returned.push(`${app}: ${why}`) },
    {
      healthOf: async () => {
        asked += 1;
        return hangs === null ? (health.shift() ?? null) : await hangs;
      },
    },
  );
  onTestFinished(() => watched.close());
  const check = async (...answers: readonly (string | null)[]): Promise<void> => {
    health.push(...answers);
    for (const _ of answers) await watched.checkHealth("a");
  };
  const answer = (release: number, status: number, times: number): void => {
    for (let count = 0; count < times; count += 1) {
      watched.answered({
        target: `a/${release}`,
        status,
        method: "GET",
        start: "warm",
        firstByteMs: 1,
        phases: {},
      });
    }
  };
  return { answer, check, returned, hang, asked: () => asked };
}

test("a canary that fails more often than the live release is given up, once, with the reason", () => {
  const { answer, returned } = watch();
  answer(1, 200, 100);
  answer(2, 200, 18);
  answer(2, 502, 10);
  expect(returned).toEqual(["a: 10 % of its answers were server errors, 0 % of the others'"]);
});

test("one that fails as the live release does is not", () => {
  const { answer, returned } = watch();
  answer(1, 200, 50);
  answer(1, 500, 50);
  for (let round = 0; round < 50; round += 1) {
    answer(2, 200, 1);
    answer(2, 500, 1);
  }
  expect(returned).toEqual([]);
});

test("nothing is decided on few answers, and clients' errors are not the app's", () => {
  const { answer, returned } = watch();
  answer(2, 500, 19);
  expect(returned).toEqual([]);
  const other = watch();
  other.answer(2, 404, 100);
  expect(other.returned).toEqual([]);
});

test("one whose health check fails three times in a row is given up, once", async () => {
  const { check, returned } = watch();
  await check("gone", "gone", null, "gone", "gone");
  expect(returned).toEqual([]);
  await check("gone", "gone");
  expect(returned).toEqual(["a: its health check failed 3 times in a row: gone"]);
});

test("one that hangs is asked again only once it was given up on", async () => {
  const { check, returned, hang, asked } = watch();
  const answer = hang();
  const first = check("gone");
  await check("gone", "gone", "gone");
  expect(asked()).toBe(1);
  answer("it did not answer");
  await first;
  await check("gone");
  expect(asked()).toBe(2);
  expect(returned).toEqual([]);
});
