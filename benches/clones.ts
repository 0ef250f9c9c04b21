/** Many machines of one snapshot: how fast they answer, and what one more costs. */

import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Standby } from "@spore/monitor-client";
import { type FrozenServer, freeze } from "./frozen.ts";
import { type Row, row, spread } from "./rows.ts";
import type { Workshop } from "./workshop.ts";

/** Guest memory: what a small server needs. */
const MEMORY = 256 << 20;
const CLONES = 1000;
const FEW = 100;
/** So many that what else the host does with its memory does not show. */
const MORE = 400;
const NONE = spread([0]);

/** A thousand clones, each asked once. */
export async function fork(shop: Workshop): Promise<Row[]> {
  const server = await freeze(shop, MEMORY);
  const rows: Row[] = [];
  for (const count of [FEW, CLONES]) {
    shop.say(`fork: ${count} machines`);
    await using clones = await Clones.start(shop, server, count);
    const name = `${count} clones, all have answered`;
    rows.push(row({ bench: "fork", case: name, unit: "ms" }, spread([clones.ms]), NONE));
  }
  return rows;
}

/** Memory of one more clone that has answered a request and idles. */
export async function memory(shop: Workshop): Promise<Row[]> {
  const server = await freeze(shop, MEMORY);
  shop.say(`memory: ${FEW} and ${MORE} idle machines`);
  const used: number[] = [];
  for (const count of [FEW, MORE]) {
    const before = taken();
    await using clones = await Clones.start(shop, server, count);
    // Idle: what was taken for the start has been given back.
    await delay(2000);
    used.push(taken() - before);
    void clones;
  }
  const [one = 0, two = 0] = used;
  const each = (two - one) / (MORE - FEW) / 2 ** 20;
  const place = { bench: "memory", case: "one more idle warm clone, all of the host's memory", unit: "MiB" };
  return [row(place, spread([each]), NONE)];
}

/** Memory that is taken and could not be had back by forgetting files. */
function taken(): number {
  const text = readFileSync("/proc/meminfo", "latin1");
  const of = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(text)?.[1]);
  return (of("MemTotal") - of("MemFree") - of("Cached") - of("Buffers") - of("SReclaimable")) * 1024;
}

/** Machines that were all asked once. */
class Clones implements AsyncDisposable {
  readonly #machines: Standby;
  /** From the start of the first to the last answer. */
  readonly ms: number;

  private constructor(machines: Standby, ms: number) {
    this.#machines = machines;
    this.ms = ms;
  }

  static async start(shop: Workshop, server: FrozenServer, count: number): Promise<Clones> {
    const config = { ...server.config, anyPort: true };
    const begin = performance.now();
    const machines = Standby.fork(shop.monitor, config, count);
    const answered = Promise.withResolvers<void>();
    let left = count;
    machines.onEvent((event) => {
      if (event.event !== "listening") return;
      ask(event.url, server.word).then(() => {
        left--;
        if (left === 0) answered.resolve();
      }, answered.reject);
    });
    void machines.ended.then(() => answered.reject(new Error("the machines have ended")));
    await answered.promise;
    return new Clones(machines, performance.now() - begin);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machines[Symbol.asyncDispose]();
    // The host takes some time to clear up.
    await delay(1000);
  }
}

/** Asks for a page and waits for the word that only the frozen memory knows. */
function ask(url: string, word: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let answer = "";
  connect(Number(new URL(url).port), "127.0.0.1")
    .setEncoding("latin1")
    .on("data", (text) => {
      answer += String(text);
    })
    .on("error", reject)
    .on("close", () => {
      if (answer.includes(word)) resolve();
      else reject(new Error(`an answer without the word: ${answer}`));
    })
    .write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  return promise;
}
