// Clients of an app that sleeps stay connected, if its settings say so.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Cloud, cloud, freePort } from "../support/cloud.ts";
import { fixtures } from "../support/spore.ts";

const soon = ["--idle", "200ms", "--connection-idle", "200ms"];

/** Waits until the app has been put to sleep with its connections so many times. */
async function asleep(spore: Cloud, app: string, times: number): Promise<void> {
  const slept = async (): Promise<number> => {
    const { stdout } = await spore.spore(["events", app, "--json"]);
    return stdout.split('"kind":"instance.asleep"').length - 1;
  };
  await expect.poll(slept, { timeout: 30_000 }).toBeGreaterThanOrEqual(times);
}

test("a WebSocket goes on after the app has slept, and so does what the app had in memory", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", "--name", "app", ...soon, "--connections", "keep", join(fixtures, "sleeper")]);
  const socket = new WebSocket(`ws://127.0.0.1:${spore.port}`, { headers: { host: "app.localhost" } });
  await once(socket, "open");
  const say = async (): Promise<unknown> => {
    socket.send("something");
    return JSON.parse(String((await once(socket, "message"))[0]));
  };
  const { secret } = (await say()) as { secret: string };
  for (let round = 1; round <= 3; round++) {
    await asleep(spore, "app", round);
    expect(await say()).toMatchObject({ secret, mine: round + 1 });
  }
  const running = spore.monitors();
  expect(running).toHaveLength(1);
  await asleep(spore, "app", 4);
  // Once nobody is connected any more, it sleeps as any other.
  socket.close();
  await expect.poll(() => spore.monitors(), { timeout: 30_000 }).toEqual([]);

  // Without that, the WebSocket is closed as going away when the app sleeps.
  const closing = ["deploy", "--name", "app", ...soon, "--connections", "close", join(fixtures, "sleeper")];
  await spore.json(closing);
  const other = new WebSocket(`ws://127.0.0.1:${spore.port}`, { headers: { host: "app.localhost" } });
  await once(other, "open");
  expect((await once(other, "close"))[0]).toBe(1001);
}, 240_000);

test("a redis-cli stays connected while redis sleeps", async () => {
  await using spore = await cloud();
  const port = await freePort();
  const words = ["deploy", "--name", "store", ...soon, "--connections", "keep", "--port", "6379"];
  const redis = ["--tcp", String(port), "/usr/bin/redis-server", "--", "--protected-mode", "no"];
  const { status, stderr } = await spore.spore([...words, ...redis]);
  expect(status, stderr).toBe(0);
  const client = spawn("redis-cli", ["-p", String(port)], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  const ask = async (command: string): Promise<string> => {
    client.stdin.write(`${command}\n`);
    return String((await lines.next()).value);
  };
  try {
    const id = await ask("client id");
    expect(await ask("incr counter")).toBe("1");
    for (let round = 1; round <= 2; round++) {
      await asleep(spore, "store", round);
      expect(await ask("incr counter")).toBe(String(round + 1));
      expect(await ask("client id")).toBe(id);
    }
  } finally {
    client.kill();
  }
}, 240_000);
