import { join } from "node:path";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

const vars = join(root, "tests/fixtures/cloud-vars");

test("a program that holds its machine awake does not sleep, and sleeps once it lets go", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "held", "--idle", "50ms", vars]);
  await spore.json(["deploy", "--name", "other", "--idle", "500ms", vars]);
  await expect.poll(() => spore.monitors().length, { timeout: 30_000 }).toBe(0);
  await spore.get("held", "/hold");
  const [held] = spore.monitors();
  // Another that is woken after it, and may sleep ten times later, is gone before it.
  await spore.get("other");
  await expect.poll(() => spore.monitors(), { timeout: 30_000 }).toEqual([held]);
  await spore.get("held", "/release");
  await expect.poll(() => spore.monitors().length, { timeout: 30_000 }).toBe(0);
}, 120_000);

test("a release that is to say when it is ready gets no request before", async () => {
  await using spore = await cloud();
  const words = ["deploy", "--name", "app", "--ready", "signal", "--no-snapshot", "-e", "READY_MS=700"];
  await spore.json([...words, vars]);
  expect(Number((await spore.get("app", "/age")).text)).toBeGreaterThan(690);
  const { status, stderr } = await spore.spore(["deploy", "--ready", "maybe", vars]);
  expect(status).toBe(64);
  expect(stderr).toMatch(/expected listen or signal/);
}, 120_000);
