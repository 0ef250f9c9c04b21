/** Freezing a program that runs: how long it stands still, and what is written. */

import { join } from "node:path";
import { Instance } from "@spore/monitor-client";
import { freeze } from "./frozen.ts";
import { type Row, row, spread } from "./rows.ts";
import type { Workshop } from "./workshop.ts";

const MEMORY = 256 << 20;
const FREEZES = 50;
const NONE = spread([0]);

/** Freezes a server again and again while it is asked. */
export async function snapshot(shop: Workshop): Promise<Row[]> {
  const server = await freeze(shop, MEMORY);
  shop.say(`snapshot: ${FREEZES} freezes of a running server`);
  const config = { ...server.config, anyPort: true };
  await using instance = Instance.start(shop.monitor, config, { output: "ignore" });
  const listening = await instance.event("listening");
  if (listening === null) throw new Error("the server has ended");
  const pauses: number[] = [];
  const sizes: number[] = [];
  for (let number = 0; number < FREEZES; number++) {
    const answer = fetch(listening.url).then((response) => response.text());
    const frozen = await instance.freeze(join(shop.folder, "again.snap"));
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
  ];
}
