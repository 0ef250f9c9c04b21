/** Freezing a program that runs: how long it stands still, what is written, how fast the copy is. */

import { join } from "node:path";
import { Instance, Standby, tryOut } from "@spore/monitor-client";
import { type WarmServer, warm } from "./frozen.ts";
import { type Row, row, spread } from "./rows.ts";
import { output, type Workshop } from "./workshop.ts";

const MEMORY = 256 << 20;
const FREEZES = 50;
const NONE = spread([0]);
const CONNECTIONS = 30;
const ROUNDS = 5;
const WARM_UP_MS = 300;
const MEASURE_MS = 1200;

/** Freezes a server again and again while it is asked, then loads it beside its copies. */
export async function snapshot(shop: Workshop): Promise<Row[]> {
  await using server = await warm(shop, MEMORY);
  const file = join(shop.folder, "again.snap");
  shop.say(`snapshot: ${FREEZES} freezes of a running server`);
  const pauses: number[] = [];
  const sizes: number[] = [];
  for (let number = 0; number < FREEZES; number++) {
    const answer = fetch(server.url).then((response) => response.text());
    const frozen = await server.instance.freeze(file);
    if (!(await answer).includes(server.word)) throw new Error("the server has forgotten its word");
    pauses.push(frozen.pauseUs / 1000);
    sizes.push(frozen.bytes / 2 ** 20);
  }
  const place = (what: string, unit: string): { bench: string; case: string; unit: string } => ({
    bench: "snapshot",
    case: what,
    unit,
  });
  return [
    row(place("live freeze, the guest stands still", "ms"), spread(pauses), NONE),
    row(place("size of the file", "MiB"), spread(sizes), NONE),
    ...(await throughput(shop, server, file)),
  ];
}

/** The instance that was frozen, one made of the file, and a clone, loaded in turn. */
async function throughput(shop: Workshop, server: WarmServer, file: string): Promise<Row[]> {
  shop.say(`snapshot: throughput of the frozen instance and of its copies, ${ROUNDS} rounds`);
  const load = shop.compile("load");
  const config = { ...server.restored(file), anyPort: true };
  await tryOut(shop.monitor, config, async (url) => await (await fetch(url)).text());
  await using instance = Instance.start(shop.monitor, config, { output: "ignore" });
  const restored = await instance.event("listening");
  await using clones = Standby.fork(shop.monitor, config, 1);
  await clones.until((events) => events.some(({ event }) => event === "listening"));
  const clone = clones.events.find((event) => event.event === "listening");
  if (restored === null || clone?.event !== "listening") throw new Error("a copy has ended");
  const rates: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < ROUNDS; round++) {
    for (const [number, url] of [server.url, restored.url, clone.url].entries()) {
      const args = [new URL(url).port, CONNECTIONS, WARM_UP_MS, MEASURE_MS].map(String);
      rates[number]?.push(Number((await output([load, ...args])).split(" ")[0]));
    }
  }
  const [frozen, copy, forked] = rates.map(spread);
  if (!frozen || !copy || !forked) return [];
  const of = (what: string): { bench: string; case: string; unit: string } => ({
    bench: "snapshot",
    case: `throughput of ${what}, beside the frozen instance`,
    unit: "requests/s",
  });
  return [row(of("a restored instance"), copy, frozen), row(of("a clone"), forked, frozen)];
}
