import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { testContext } from "../test-context.ts";
import { connectDaemon } from "./connection.ts";

/** A daemon that answers everything with one thing. */
async function daemon(status: number, answer: object): Promise<ReturnType<typeof connectDaemon>> {
  const server = createServer((_, response) => response.writeHead(status).end(JSON.stringify(answer)));
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return connectDaemon(testContext({ SPORE_URL: `http://127.0.0.1:${port}` }).env);
}

const instance = {
  id: "1",
  app: "a",
  release: 1,
  state: "ready",
  reason: "listening",
  start: "cold",
  pid: 1,
  inFlight: 0,
  createdAt: 1,
  readyAt: 1,
  stoppedAt: null,
  outcome: null,
};

test("a daemon whose answers lack what this version needs is told from a fault", async () => {
  const { inFlight: _, ...older } = instance;
  const ask = await daemon(200, { items: [older], next: null });
  await expect(ask.call("listInstances")).rejects.toMatchObject({
    code: "SPORE_DAEMON_VERSION",
    message: expect.stringMatching(/another version of Spore.*items\.0\.inFlight/),
    next: expect.stringContaining("spore up"),
  });
});

test("one that knows more states and says more is understood", async () => {
  const newer = { ...instance, state: "dreaming", colour: "red" };
  const ask = await daemon(200, { items: [newer], next: null });
  expect((await ask.call("listInstances")).items[0]).toMatchObject({ state: "dreaming" });
});

test("one that refuses for a reason that this version does not know is understood", async () => {
  const error = { code: "SPORE_MOON_FULL", message: "the moon is full", next: "wait" };
  const ask = await daemon(409, { error });
  await expect(ask.call("listInstances")).rejects.toMatchObject({
    code: "SPORE_DAEMON_VERSION",
    message: expect.stringContaining("SPORE_MOON_FULL: the moon is full"),
    next: "wait",
  });
});
