import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Cloud, cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

const vars = join(root, "tests/fixtures/cloud-vars");

let spore: Cloud;
beforeAll(async () => {
  spore = await cloud(["--api", "127.0.0.1:0"]);
  await spore.json(["deploy", "--name", "web", vars]);
  await spore.json(["deploy", "--name", "api", "-e", "GREETING=hi", "--idle", "100ms", vars]);
});
afterAll(async () => {
  await spore[Symbol.asyncDispose]();
});

async function fetched(app: string, url: string): Promise<string> {
  return (await spore.get(app, `/fetch?${url}`)).text;
}

test("an app wakes another by its name, and is a client like any other", async () => {
  await expect
    .poll(async () => (await spore.json<{ instances: unknown[] }>(["ps", "api"])).instances, {
      timeout: 30_000,
    })
    .toEqual([]);
  expect(await fetched("web", "http://api.internal/")).toBe('200 {"GREETING":"hi"}');
  expect(await fetched("web", "http://api.internal/headers")).toMatch(
    /"host":"api.internal".*"x-forwarded-for":"24[0-7]\./,
  );
  expect(await fetched("web", "http://nobody.internal/")).toMatch(/^404 SPORE_NO_APP/);
  expect(await fetched("web", "http://a.b.internal/")).toBe("ENOTFOUND");
});

test("names of apps go on after the machine was woken from a snapshot", async () => {
  await spore.json(["deploy", "--name", "web", "--idle", "100ms", vars]);
  await expect
    .poll(async () => (await spore.json<{ instances: unknown[] }>(["ps", "web"])).instances, {
      timeout: 30_000,
    })
    .toEqual([]);
  const answer = await spore.get("web", "/fetch?http://api.internal/");
  expect(answer.headers["x-spore-start"]).toBe("snapshot");
  expect(answer.text).toBe('200 {"GREETING":"hi"}');
});

test("an app with a list of destinations reaches those apps that stand there", async () => {
  await spore.json(["deploy", "--name", "web", "--allow", "api.internal", vars]);
  expect(await fetched("web", "http://api.internal/")).toMatch(/^200 /);
  expect(await fetched("web", "http://web.internal/")).toBe("EACCES");
  await spore.json(["deploy", "--name", "web", "--allow", "*.internal:80", vars]);
  expect(await fetched("web", "http://web.internal/headers")).toMatch(/^200 /);
  await spore.json(["deploy", "--name", "web", "--allow", "10.0.0.0/8", vars]);
  expect(await fetched("web", "http://api.internal/")).toMatch(/^E/);
});

test("the host's own addresses stay closed", async () => {
  await spore.json(["deploy", "--name", "web", "--allow", "0.0.0.0/0", vars]);
  expect(await fetched("web", `http://127.0.0.1:${spore.port}/`)).toBe("EACCES");
});
