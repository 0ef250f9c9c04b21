// Many machines from one snapshot: they share memory until they write to it.
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { folder } from "../support/programs.ts";
import { fixtures, spore, startSpore } from "../support/spore.ts";

const file = join(folder(), "server.snap");

interface State {
  readonly secret: string;
  readonly requests: number;
}

beforeAll(async () => {
  const words = ["snapshot", join(fixtures, "snapshot-server"), "-o", file, "--warm", "/state"];
  const { stderr, status } = await spore(words);
  expect(status, stderr).toBe(0);
});

test("a snapshot knows what the first request after a restore uses", async () => {
  const { stdout } = await spore(["snapshot", "inspect", file, "--json"]);
  const { workingSet } = JSON.parse(stdout) as { workingSet: { used: number; written: number } };
  expect(workingSet.written).toBeGreaterThan(0);
  expect(workingSet.used).toBeGreaterThan(workingSet.written);
});

test("each of many machines goes on where the snapshot was taken, and hears nothing of the others", async () => {
  await using fork = startSpore(["fork", file, "-n", "6"]);
  await fork.says("stdout", /(http:.*\n){6}/);
  const urls = fork.said.stdout.trim().split("\n");
  expect(new Set(urls).size).toBe(6);
  const ask = async (url: string): Promise<State> =>
    (await (await fetch(new URL("/state", url))).json()) as State;
  const first = await Promise.all(urls.map(ask));
  expect(first.map(({ requests }) => requests)).toEqual(urls.map(() => 2));
  expect(new Set(first.map(({ secret }) => secret)).size).toBe(1);
  for (const url of urls.slice(0, 3)) await ask(url);
  const second = await Promise.all(urls.map(ask));
  expect(second.map(({ requests }) => requests)).toEqual([4, 4, 4, 3, 3, 3]);
  // They end with the command that has started them.
  fork.signal("SIGINT");
  await fork.ended;
  for (const url of urls) await expect(fetch(url)).rejects.toThrow();
});
