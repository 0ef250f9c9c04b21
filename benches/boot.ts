/** Boot: from the start of a process to its first output or HTTP byte. */

import { join } from "node:path";
import { type Row, row, spread } from "./rows.ts";
import { freePort, node, output, root, type Workshop } from "./workshop.ts";

/** Static hello and the Node.js hello example. */
export async function boot(shop: Workshop): Promise<Row[]> {
  return [await staticHello(shop), await nodeHello(shop)];
}

/** From the monitor's start to the program's first byte, beside `exec` of the same program. */
async function staticHello(shop: Workshop): Promise<Row> {
  const program = shop.compile("hello", "-static");
  const ours = await shop.ours(program);
  return timed(shop, "static hello, start to first output", "output", ours, [program]);
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
