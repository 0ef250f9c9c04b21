/** Boot: from the start of a process to its first output or HTTP byte. */

import { join } from "node:path";
import { type Row, row, spread } from "./rows.ts";
import { freePort, node, output, root, type Workshop } from "./workshop.ts";

/** Hellos of several libraries and the Node.js hello example. */
export async function boot(shop: Workshop): Promise<Row[]> {
  const musl = shop.compileWith("musl-gcc", "hello", "-static");
  return [
    await hello(shop, "static hello", shop.compile("hello", "-static")),
    await hello(shop, "static hello of musl", musl),
    await hello(shop, "dynamic hello", shop.compile("hello")),
    await hello(shop, "Go hello", shop.compileGo("hello")),
    await nodeHello(shop),
  ];
}

/** From the monitor's start to the program's first byte, beside `exec` of the same program. */
async function hello(shop: Workshop, name: string, program: string): Promise<Row> {
  return timed(shop, `${name}, start to first output`, "output", await shop.ours(program), [program]);
}

/** From the command to the first byte of an answer, beside Node.js with the same app. */
async function nodeHello(shop: Workshop): Promise<Row> {
  const port = String(await freePort());
  const app = join(root, "examples/hello");
  const ours = [join(root, "spore"), "run", "--quiet", "-e", `PORT=${port}`, app];
  const native = ["env", `PORT=${port}`, node, await shop.hello()];
  return timed(shop, "node hello, command to first HTTP byte", port, ours, native);
}

async function timed(
  shop: Workshop,
  name: string,
  until: string,
  ours: readonly string[],
  native: readonly string[],
): Promise<Row> {
  shop.say(`boot: ${name}, ${shop.samples} times each`);
  const timer = shop.compile("start-timer");
  const lines = await output([timer, String(shop.samples), until, "--", ...ours, "--", ...native]);
  const pairs = lines.trim().split("\n");
  const column = (index: number): number[] => pairs.map((line) => Number(line.split(" ")[index]) / 1e6);
  return row({ bench: "boot", case: name, unit: "ms" }, spread(column(0)), spread(column(1)));
}
