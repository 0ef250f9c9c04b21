/**
 * Wake: a program sleeps, somebody connects. From the client's first byte to the
 * piece of the answer that holds a word which only the frozen memory knows.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { Standby, type StandbyEvent } from "@spore/monitor-client";
import { dropPages, type FrozenServer, freeze } from "./frozen.ts";
import { type Row, row, type Spread, spread } from "./rows.ts";
import { freePort, node, output, type Workshop } from "./workshop.ts";

/** Guest memory: what a small server needs. */
export const MEMORY: number = 256 << 20;
/** How many programs sleep and are woken at the same moment. */
const CONCURRENCY: readonly number[] = [1, 10, 100];
const NATIVE_STARTS = 60;

/** With machines that stand by; the snapshot's file out of memory before each wake. */
interface How {
  readonly pool: boolean;
  readonly dropped: boolean;
}

type Woken = Extract<StandbyEvent, { event: "woken" }>;

/** One wake, step by step, in ns. */
interface Sample {
  readonly accept: number;
  readonly shell: number;
  readonly memory: number;
  readonly resume: number;
  readonly answer: number;
  readonly total: number;
  readonly cpu: number;
}

/** Wakes with and without a pool, beside native Node.js. */
export async function wake(shop: Workshop): Promise<Row[]> {
  const server = await freeze(shop, MEMORY);
  const native = await nativeStart(shop, server);
  const rows: Row[] = [];
  const measure = async (name: string, concurrency: number, how: How): Promise<void> => {
    const samples = await wakes(shop, server, concurrency, how);
    rows.push(...report(`${name}, ${concurrency} at once`, samples, native));
    if (concurrency === 1) rows.push(...phases(name, samples, native));
  };
  for (const concurrency of CONCURRENCY) {
    await measure("pool", concurrency, { pool: true, dropped: false });
    await measure("no pool", concurrency, { pool: false, dropped: false });
  }
  await measure("pool, file not in memory", 1, { pool: true, dropped: true });
  await measure("no pool, file not in memory", 1, { pool: false, dropped: true });
  return rows;
}

/** Wakes from a pool, one at a time, in milliseconds, and what was woken: for those who put something before it. */
export async function directWakes(
  shop: Workshop,
): Promise<{ readonly server: FrozenServer; readonly times: Spread }> {
  const server = await freeze(shop, MEMORY);
  const samples = await wakes(shop, server, 1, { pool: true, dropped: false });
  return { server, times: spread(samples.map(({ total }) => total / 1e6)) };
}

async function nativeStart(shop: Workshop, server: FrozenServer): Promise<Spread> {
  shop.say(`wake: native start, ${NATIVE_STARTS} times`);
  const port = String(await freePort());
  const command = ["env", `PORT=${port}`, node, server.source];
  const timer = shop.compile("start-timer");
  const lines = await output([timer, String(NATIVE_STARTS / 2), port, "--", ...command, "--", ...command]);
  return spread(
    lines
      .trim()
      .split(/\s+/)
      .map((ns) => Number(ns) / 1e6),
  );
}

function report(name: string, samples: readonly Sample[], native: Spread): Row[] {
  const pick = (of: (sample: Sample) => number): Spread => spread(samples.map((sample) => of(sample) / 1e6));
  const place = (what: string): { bench: string; case: string; unit: string } => ({
    bench: "wake",
    case: `${name}${what}`,
    unit: "ms",
  });
  return [
    row(
      place(", first byte"),
      pick(({ total }) => total),
      native,
    ),
    row(
      place(", processor time"),
      pick(({ cpu }) => cpu),
      native,
    ),
  ];
}

function phases(name: string, samples: readonly Sample[], native: Spread): Row[] {
  const steps: readonly (readonly [string, (sample: Sample) => number])[] = [
    ["accept", ({ accept }) => accept],
    ["shell", ({ shell }) => shell],
    ["memory", ({ memory }) => memory],
    ["resume", ({ resume }) => resume],
    ["first instruction to first byte", ({ answer }) => answer],
  ];
  return steps.map(([step, of]) =>
    row(
      { bench: "wake", case: `${name}, of it: ${step}`, unit: "ms" },
      spread(samples.map((sample) => of(sample) / 1e6)),
      native,
    ),
  );
}

async function wakes(shop: Workshop, server: FrozenServer, concurrency: number, how: How): Promise<Sample[]> {
  const wanted = shop.wakes;
  shop.say(`wake: ${concurrency} at once${how.pool ? "" : ", no pool"}, ${wanted} wakes`);
  const socket = join(shop.folder, "pool.sock");
  await using pool = how.pool ? Standby.pool(shop.monitor, server.config, concurrency, socket) : null;
  await using lanes = await Lanes.open(shop, server, concurrency, how.pool ? socket : null);
  const samples: Sample[] = [];
  while (samples.length < wanted) {
    // An answer may be here before the pool has said that a machine of it was taken.
    const taken = samples.length;
    await pool?.until((events) => count(events, "taken") >= taken && standing(events) >= concurrency);
    if (how.dropped) dropPages(server.file);
    samples.push(...(await lanes.round()));
  }
  return samples;
}

function standing(events: readonly StandbyEvent[]): number {
  return count(events, "standby") - count(events, "taken");
}

function count(events: readonly StandbyEvent[], name: StandbyEvent["event"]): number {
  return events.filter(({ event }) => event === name).length;
}

/** Sleeping programs with a client each. */
class Lanes implements AsyncDisposable {
  readonly #lanes: Lane[] = [];

  static async open(
    shop: Workshop,
    server: FrozenServer,
    count: number,
    socket: string | null,
  ): Promise<Lanes> {
    const lanes = new Lanes();
    const client = shop.compile("first-byte");
    for (let number = 0; number < count; number++) {
      const publish = [{ address: "127.0.0.1", host: 0, guest: 8080 }];
      const activator = Standby.activator(shop.monitor, { ...server.config, publish }, socket);
      await activator.until((events) => events.length > 0);
      const asleep = activator.events[0];
      const port = asleep?.event === "asleep" ? new URL(asleep.url ?? "").port : "0";
      lanes.#lanes.push(new Lane(activator, spawn(client, [port, "/", server.word])));
    }
    return lanes;
  }

  /** Wakes all of them at once, then puts them to sleep again. */
  async round(): Promise<Sample[]> {
    for (const lane of this.#lanes) lane.ask();
    const samples = await Promise.all(this.#lanes.map((lane) => lane.sample()));
    await Promise.all(this.#lanes.map((lane) => lane.sleep()));
    return samples;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const lane of this.#lanes) await lane.close();
  }
}

class Lane {
  readonly #activator: Standby;
  readonly #client: ChildProcess;
  readonly #answers: Interface;
  #seen = 0;

  constructor(activator: Standby, client: ChildProcess) {
    this.#activator = activator;
    this.#client = client;
    if (client.stdout === null) throw new Error("a client without output");
    this.#answers = createInterface({ input: client.stdout });
    this.#seen = activator.events.length;
  }

  #answer: Promise<string> = Promise.resolve("");

  ask(): void {
    this.#answer = once(this.#answers, "line").then(([line]) => String(line));
    this.#client.stdin?.write("\n");
  }

  async sample(): Promise<Sample> {
    const line = await this.#answer;
    if (line === "lost") throw new Error("a wake was lost");
    const [begin = 0, end = 0] = line.split(" ").map(Number);
    await this.#activator.until((events) => this.#new(events).some(({ event }) => event === "woken"));
    const events = this.#new(this.#activator.events);
    const waking = events.find((event) => event.event === "waking");
    const woken = this.#woken();
    const at = waking?.event === "waking" ? waking.at : 0;
    return {
      accept: at - begin,
      shell: woken.received - at,
      memory: woken.prepared - woken.received,
      resume: woken.resumed - woken.prepared,
      answer: end - woken.resumed,
      total: end - begin,
      cpu: processorTime(woken.pid) - woken.cpuBefore,
    };
  }

  async sleep(): Promise<void> {
    process.kill(this.#woken().pid, "SIGKILL");
    await this.#activator.until((events) => this.#new(events).some(({ event }) => event === "asleep"));
    this.#seen = this.#activator.events.length;
  }

  #woken(): Woken {
    const woken = this.#new(this.#activator.events).find((event) => event.event === "woken");
    if (woken?.event !== "woken") throw new Error("no machine was woken");
    return woken;
  }

  #new(events: readonly StandbyEvent[]): readonly StandbyEvent[] {
    return events.slice(this.#seen);
  }

  async close(): Promise<void> {
    this.#client.kill("SIGKILL");
    // A machine outlives its activator, and holds its streams open.
    const woken = this.#new(this.#activator.events).find((event) => event.event === "woken");
    if (woken?.event === "woken") process.kill(woken.pid, "SIGKILL");
    await this.#activator[Symbol.asyncDispose]();
  }
}

/** Of all threads of a process so far, in ns. */
function processorTime(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce(
    (sum, task) => sum + Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ")[0]),
    0,
  );
}
