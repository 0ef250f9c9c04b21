import { join } from "node:path";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

const vars = join(root, "tests/fixtures/cloud-vars");
/** Deploys under load; `SPORE_DEPLOYS=100` for the whole promise. */
const DEPLOYS = Number(process.env["SPORE_DEPLOYS"] ?? 8);

test("no request fails while releases come and go", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "-e", "GREETING=0", vars]);
  let running = true;
  const seen = new Set<string>();
  let requests = 0;
  const client = async (): Promise<void> => {
    while (running) {
      const { status, text } = await spore.get("app");
      if (status !== 200) throw new Error(`request ${requests}: ${status} ${text}`);
      seen.add((JSON.parse(text) as { GREETING: string }).GREETING);
      requests += 1;
    }
  };
  const clients = Array.from({ length: 4 }, client);
  for (let deploy = 1; deploy <= DEPLOYS; deploy += 1) {
    await spore.json(["env", "app", "--set", `GREETING=${deploy}`]);
  }
  running = false;
  await Promise.all(clients);
  // Every release has answered somebody.
  expect(seen.size).toBeGreaterThan(DEPLOYS / 2);
  expect(requests).toBeGreaterThan(DEPLOYS);
}, 600_000);

test("a canary gets its part, can be promoted, and is given up when it fails", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "-e", "GREETING=old", vars]);
  const { stderr } = await spore.spore([
    "deploy",
    "--name",
    "app",
    "-e",
    "GREETING=new",
    "--canary",
    "50",
    vars,
  ]);
  expect(stderr).toMatch(/app release 2 gets 50 % of the requests; `spore promote app` gives it all/);
  const answers = async (count: number): Promise<string[]> => {
    const found: string[] = [];
    for (let index = 0; index < count; index += 1) found.push((await spore.get("app")).text);
    return found;
  };
  const both = new Set(await answers(40));
  expect([...both].sort()).toEqual(['{"GREETING":"new"}', '{"GREETING":"old"}']);
  await spore.json(["promote", "app"]);
  expect(new Set(await answers(10))).toEqual(new Set(['{"GREETING":"new"}']));
  // One that answers with errors.
  await spore.json(["deploy", "--name", "app", "-e", "FAIL=1", "--canary", "50", vars]);
  await answers(100);
  expect(new Set(await answers(10))).toEqual(new Set(['{"GREETING":"new"}']));
  expect((await spore.spore(["events", "app"])).stdout).toMatch(/canary\.returned app r3 reason=/);
}, 200_000);

test("a canary whose health check begins to fail is given up, though nobody has asked it anything", async () => {
  await using spore = await cloud();
  const deploy = ["deploy", "--name", "app", "--health", "/health", "--idle", "1h"];
  await spore.json([...deploy, "-e", "GREETING=old", vars]);
  await spore.json([...deploy, "-e", "GREETING=new", "--canary", "1", vars]);
  await spore.spore(["flag", "app", "sick", "--on"]);
  const events = async (): Promise<string> => (await spore.spore(["events", "app"])).stdout;
  await expect
    .poll(events, { timeout: 30_000 })
    .toMatch(/canary\.returned app r2 reason=.*health check failed.*status 500/);
  const { text } = await spore.get("app");
  expect(text).toBe('{"GREETING":"old"}');
}, 120_000);
