/** What a server costs while nobody asks it anything: it should be nothing. */

import { setTimeout as delay } from "node:timers/promises";
import { nativeServer, ourServer } from "./http.ts";
import { thisMachine } from "./machine.ts";
import { type Row, row, spread } from "./rows.ts";
import type { Server, Workshop } from "./workshop.ts";

/** Until a server has done what it does after its start; idle HTTP connections end after 5 s. */
const SETTLE_MS = 7000;
const WATCH_MS = 3000;

/**
 * A vCPU thread that leaves the guest stops running sooner or later, so one that
 * was never switched to has had no exit.
 */
export async function idle(shop: Workshop): Promise<Row[]> {
  shop.say("idle: three seconds of nothing");
  const [server = 0, second = server] = thisMachine().processors;
  const io = second === server ? undefined : second;
  await using ours = await ourServer(shop, { name: "idle", server, client: second, io });
  await using native = await nativeServer(shop, server);
  for (const one of [ours, native]) await (await fetch(`http://127.0.0.1:${one.port}/`)).text();
  await delay(SETTLE_MS);
  const look = (one: Server): [number, number] => [one.switches(), one.cpu() / 1000];
  const before = [look(ours), look(native)];
  await delay(WATCH_MS);
  const [ourCosts, nativeCosts] = [look(ours), look(native)].map((after, index) =>
    after.map((value, what) => spread([value - (before[index]?.[what] ?? 0)])),
  );
  return [
    { case: "main thread woken in 3 s", unit: "times" },
    { case: "CPU in 3 s", unit: "ms" },
  ].flatMap((place, what) => {
    const [one, other] = [ourCosts?.[what], nativeCosts?.[what]];
    return one && other ? [row({ bench: "idle", ...place }, one, other)] : [];
  });
}
