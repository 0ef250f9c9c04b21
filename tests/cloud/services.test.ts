import { connect } from "node:net";
import { expect, test } from "vitest";
import { cloud, freePort } from "../support/cloud.ts";

/** Says one command to a redis and gives the first line of its answer. */
function ask(port: number, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`${command}\r\n`));
    socket.setEncoding("utf8").once("data", (text: string) => {
      socket.destroy();
      resolve(text.split("\r\n")[0] ?? "");
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed without an answer")));
  });
}

test("redis has a port of its own, sleeps, and wakes with what it was frozen with", async () => {
  await using spore = await cloud();
  const port = await freePort();
  const words = ["deploy", "--name", "store", "--port", "6379", "--tcp", String(port), "--idle", "200ms"];
  const redis = ["/usr/bin/redis-server", "--", "--protected-mode", "no"];
  const { status, stderr } = await spore.spore([...words, ...redis]);
  expect(status, stderr).toBe(0);
  expect(await ask(port, "PING")).toBe("+PONG");
  const instances = async (): Promise<number> =>
    (await spore.json<{ instances: unknown[] }>(["ps", "store"])).instances.length;
  await expect.poll(instances, { timeout: 30_000 }).toBe(0);
  expect(await ask(port, "PING")).toBe("+PONG");
});
