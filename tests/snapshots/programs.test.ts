// Programs of other languages go on from a snapshot: their memory, threads and timers.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, compileGo, folder } from "../support/programs.ts";
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

test("C: inotify tells of news in /dev/spore, its size how much that is", async () => {
  const file = join(place, "news.snap");
  const words = ["snapshot", "-o", file, "--ready", "signal", compile(place, "news.c", "gcc")];
  const taken = await spore(words);
  expect(taken.status, taken.stderr).toBe(0);
  expect(await spore(["run", "--quiet", file])).toMatchObject({
    stdout: "restored: told of all 1, left 0\n",
    status: 0,
  });
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

test("Node.js: copies collect no garbage of the time before they were made", {
  timeout: 60_000,
}, async () => {
  const app = join(place, "garbage");
  mkdirSync(app);
  writeFileSync(
    join(app, "package.json"),
    JSON.stringify({ name: "garbage", type: "module", main: "main.js" }),
  );
  writeFileSync(join(app, "main.js"), GARBAGE);
  const file = join(place, "garbage.snap");
  const taken = await spore(["snapshot", app, "-o", file, "--warm", "/"]);
  expect(taken.status, taken.stderr).toBe(0);
  await using copy = await serve(8080, [file]);
  const collections = async (path: string): Promise<number> =>
    Number(await (await fetch(new URL(path, copy.url))).text());
  const before = await collections("/");
  expect(before).toBeGreaterThan(0);
  expect(await collections("/later")).toBe(before);
});

/**
 * Answers with the number of collections of its whole heap: now, or after V8 would have made two more. The
 * last one before the freeze is whole: a copy would end one that has begun.
 */
const GARBAGE = `import { createServer } from "node:http";
import { constants, PerformanceObserver } from "node:perf_hooks";
import v8 from "node:v8";
import vm from "node:vm";
let collections = 0;
new PerformanceObserver((list) => {
  for (const { detail } of list.getEntries()) if (detail.kind !== constants.NODE_PERFORMANCE_GC_MINOR) collections++;
}).observe({ entryTypes: ["gc"] });
let heap = [];
for (let size = 0; size < 1e6; size++) heap.push({ size });
heap = [];
v8.setFlagsFromString("--expose-gc");
vm.runInNewContext("gc")();
createServer((request, response) => {
  setTimeout(() => response.end(String(collections)), request.url === "/later" ? 10_000 : 0);
}).listen(8080);
`;
