// Programs of other languages go on from a snapshot: their memory, threads and timers.
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compileGo, folder } from "../support/programs.ts";
import { pythonIncludes } from "../support/python.ts";
import { fixtures, type Server, serve, spore } from "../support/spore.ts";

const place = folder();

interface Counter {
  readonly requests: number;
  readonly ticks: number;
  readonly secret: string;
  readonly pid: number;
}

async function ask(server: Server): Promise<Counter> {
  return (await (await fetch(server.url)).json()) as Counter;
}

/** Freezes a counter after one request, and goes on from it twice. */
async function goOn(name: string, words: readonly string[]): Promise<void> {
  const file = join(place, `${name}.snap`);
  const taken = await spore(["snapshot", "-o", file, "--warm", "/", ...words]);
  expect(taken.status, taken.stderr).toBe(0);
  await using one = await serve(8080, [file]);
  await using two = await serve(8080, [file]);
  const [first, second] = [await ask(one), await ask(two)];
  expect([first.requests, second.requests]).toEqual([2, 2]);
  expect(first.secret).toBe(second.secret);
  expect(first.pid).not.toBe(2);
  // Whoever counts goes on counting.
  let later = await ask(one);
  while (later.ticks <= first.ticks) later = await ask(one);
}

test("python: a threaded server", async () => {
  const program = readFileSync(join(fixtures, "programs/counter.py"), "utf8");
  await goOn("python", ["/usr/bin/python3", ...(await pythonIncludes("_uuid")), "--", "-c", program]);
});

test("Go: net/http and a ticker", { timeout: 300_000 }, async () => {
  await goOn("go", [compileGo(place, "counter.go")]);
});

/** One command of redis's inline protocol, and its answer. */
async function redis(server: Server, command: string): Promise<string> {
  const socket = connect(server.port, "127.0.0.1");
  try {
    return await new Promise((resolve, reject) => {
      socket.on("error", reject).on("data", (data) => resolve(data.toString()));
      socket.write(`${command}\r\n`);
    });
  } finally {
    socket.destroy();
  }
}

test("redis: its data, frozen while it runs", async () => {
  const orders = join(place, "redis.sock");
  const file = join(place, "redis.snap");
  const words = ["--orders", orders, "/usr/bin/redis-server", "--", "--save", "", "--protected-mode", "no"];
  await using original = await serve(6379, words);
  for (let index = 0; index < 100; index++) await redis(original, `set key${index} value${index}`);
  await redis(original, "set gone soon px 1500");
  const frozen = await spore(["snapshot", "--orders", orders, "-o", file]);
  expect(frozen.status, frozen.stderr).toBe(0);
  // The original runs on, and what it learns is its own.
  await redis(original, "set key0 changed");
  await using copy = await serve(6379, [file]);
  expect(await redis(copy, "get key0")).toBe("$6\r\nvalue0\r\n");
  expect(await redis(copy, "get key99")).toBe("$7\r\nvalue99\r\n");
  expect(await redis(copy, "incr counter")).toBe(":1\r\n");
  expect(await redis(original, "get counter")).toBe("$-1\r\n");
  // Time goes on in both.
  while ((await redis(copy, "exists gone")) !== ":0\r\n");
});
