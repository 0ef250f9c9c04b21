import { join } from "node:path";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

test("a crash keeps a report: what ended it, where, and what was said last", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--no-snapshot", join(root, "tests/fixtures/cloud-vars")]);
  // The app ends itself by a signal while it answers: the client is told, and the next request starts another.
  expect((await spore.get("app", "/abort")).status).toBe(502);
  const crashes = async () =>
    await spore.json<{ id: string; reason: string; outcome: string }[]>(["crash", "app"]);
  await expect.poll(async () => (await crashes()).length, { timeout: 30_000 }).toBe(1);
  const [found] = await crashes();
  expect(found).toMatchObject({ reason: "crashed", outcome: "SIGABRT" });
  const { stdout } = await spore.spore(["crash", found?.id ?? ""]);
  expect(stdout).toMatch(/^app r1, \S+Z: crashed, SIGABRT\n/);
  expect(stdout).toContain("about to abort");
  expect((await spore.spore(["crash", "show", "app"])).stdout).toBe(stdout);
  expect((await spore.spore(["crash", "show"])).stdout).toBe(stdout);
  expect((await spore.get("app")).status).toBe(200);
});
