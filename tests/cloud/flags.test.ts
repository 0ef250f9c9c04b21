import { join } from "node:path";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

test("a flag holds in the app at once, without a release, and after a restore", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", join(root, "tests/fixtures/cloud-vars")]);
  const seen = async (key: string): Promise<string> => (await spore.get("app", `/flag?${key}`)).text;
  expect(await seen("new")).toBe("false");
  await spore.json(["flag", "app", "new", "--on"]);
  await expect.poll(() => seen("new")).toBe("true");
  await spore.json(["flag", "app", "color", "--variant", "red=#f00", "--set", "red"]);
  await expect.poll(() => seen("color")).toBe("#f00");
  const ps = async () =>
    await spore.json<{ apps: { live: number }[]; instances: { id: string }[] }>(["ps", "app"]);
  for (const { id } of (await ps()).instances) await spore.json(["stop", id]);
  await expect.poll(async () => (await ps()).instances, { timeout: 30_000 }).toEqual([]);
  await spore.json(["flag", "app", "new", "--off"]);
  const woken = await spore.get("app", "/flag?color");
  expect(woken.headers["x-spore-start"]).toBe("snapshot");
  await expect.poll(() => seen("color")).toBe("#f00");
  await expect.poll(() => seen("new")).toBe("false");
  expect((await ps()).apps[0]?.live).toBe(1);
});
