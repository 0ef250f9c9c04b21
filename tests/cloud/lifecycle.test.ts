import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root, startSpore } from "../support/spore.ts";

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

test("`logs -f` goes on across sleep, a daemon that is killed, and a rollout, and has each line once", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", "--idle", "200ms", vars]);
  const asleep = () => expect.poll(() => spore.monitors().length, { timeout: 30_000 }).toBe(0);
  const env = { XDG_STATE_HOME: dirname(spore.home), SPORE_HOME: undefined, SPORE_URL: undefined };
  await using logs = startSpore(["logs", "-f", "app", "--json"], { env });
  const lines: string[] = [];
  const say = async (text: string): Promise<void> => {
    await spore.get("app", `/log?${text}`);
    await logs.says("stdout", new RegExp(`"text":"[^"]*${text}`));
    lines.push(text);
  };
  await say("before-sleep");
  await asleep();
  await say("behind-sleep");
  await spore.kill();
  await logs.says("stderr", /the daemon has ended; it is waited for/);
  await spore.up();
  await say("behind-kill");
  await spore.json(["env", "app", "--set", "GREETING=new"]);
  await say("behind-rollout");
  logs.signal("SIGTERM");
  const said = (await logs.ended).stdout.trim().split("\n");
  const found = said.map((line) => JSON.parse(line) as { seq: number; text: string });
  expect(found.flatMap(({ text }) => lines.filter((each) => text.includes(each)))).toEqual(lines);
  expect(found.map(({ seq }) => seq)).toEqual(
    [...new Set(found.map(({ seq }) => seq))].sort((a, b) => a - b),
  );
}, 120_000);
