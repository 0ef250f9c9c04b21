/** HTTP: throughput, latency and processor time of the hello example. */

import { join } from "node:path";
import { thisMachine } from "./machine.ts";
import { type Row, row, type Spread, spread } from "./rows.ts";
import { freePort, node, output, pinned, root, Server, type Workshop } from "./workshop.ts";

const CONNECTIONS = [1, 30];
const WARM_UP_MS = 300;
const MEASURE_MS = 1200;

/** Where server and client run. */
interface Placement {
  readonly name: string;
  readonly server: number;
  readonly client: number;
  /** Processor of the I/O thread; undefined: there is none. */
  readonly io: number | undefined;
}

/** What one round of load says. */
interface Round {
  readonly rate: number;
  readonly latency: Spread;
  readonly requests: number;
  /** Microseconds a request. */
  readonly cpu: number;
}

/** With the I/O thread on a second core, which it shares with the client, and with all on one. */
export async function http(shop: Workshop): Promise<Row[]> {
  const [server, client] = thisMachine().processors;
  if (server === undefined || client === undefined) {
    shop.say("http: left out, it takes two processors to measure one");
    return [];
  }
  const rows: Row[] = [];
  for (const io of [client, undefined]) {
    const name = io === undefined ? "one core" : "I/O on a second core";
    rows.push(...(await measure(shop, { name, server, client, io })));
  }
  return rows;
}

async function measure(shop: Workshop, place: Placement): Promise<Row[]> {
  const load = shop.compile("load");
  await using native = await nativeServer(shop, place.server);
  await using ours = await ourServer(shop, place);
  const rows: Row[] = [];
  let requests = 0;
  for (const connections of CONNECTIONS) {
    const name = `${connections} connection${connections === 1 ? "" : "s"}, ${place.name}`;
    shop.say(`http: ${name}`);
    const rounds: [Round[], Round[]] = [[], []];
    for (let time = 0; time < roundsOf(shop); time++) {
      rounds[0].push(await loaded(load, ours, connections, place.client));
      rounds[1].push(await loaded(load, native, connections, place.client));
    }
    rows.push(...rowsOf(name, rounds));
    requests += rounds[0].reduce((sum, round) => sum + round.requests, 0);
  }
  rows.push(exitsRow(place, await ours.stop(), requests));
  return rows;
}

/** How often the vCPU left the guest, start and end included: SPORE_DEBUG=1 says it. */
function exitsRow(place: Placement, said: string, requests: number): Row {
  const exits = Number(/left the guest (\d+) times/.exec(said)?.[1]);
  const name = `${place.name}: exits per request, all loads`;
  return row({ bench: "http", case: name, unit: "exits" }, spread([exits / requests]), spread([0]));
}

/** Fewer samples of boots: fewer rounds here too. */
function roundsOf(shop: Workshop): number {
  return Math.min(5, Math.max(2, Math.ceil(shop.samples / 40)));
}

/** The hello example in a machine. */
export async function ourServer(shop: Workshop, place: Placement): Promise<Server> {
  const port = await freePort();
  const command = await shop.ours(join(root, "examples/hello"), {
    env: { PORT: String(port) },
    publish: [{ address: "127.0.0.1", host: port, guest: port }],
  });
  // The monitor starts an I/O thread if it may use a second processor.
  const processors = place.io === undefined ? [place.server] : [place.server, place.io];
  const server = await Server.start(pinned(processors, command), port, { SPORE_DEBUG: "1" });
  if (place.io !== undefined) await server.pin(place.server, place.io);
  return server;
}

/** The same under Node.js alone. */
export async function nativeServer(shop: Workshop, processor: number): Promise<Server> {
  const port = await freePort();
  const command = pinned([processor], [node, await shop.hello()]);
  return Server.start(command, port, { PORT: String(port) });
}

async function loaded(load: string, server: Server, connections: number, processor: number): Promise<Round> {
  const args = [server.port, connections, WARM_UP_MS, MEASURE_MS].map(String);
  const before = server.cpu();
  const said = await output(pinned([processor], [load, ...args]));
  const cpu = server.cpu() - before;
  const [rate = 0, min = 0, p50 = 0, p99 = 0] = said.split(" ").map(Number);
  // The warm-up's requests took processor time as well.
  const requests = (rate * (WARM_UP_MS + MEASURE_MS)) / 1000;
  return { rate, latency: { min, p50, p99 }, requests, cpu: cpu / requests };
}

function rowsOf(name: string, [ours, native]: readonly [readonly Round[], readonly Round[]]): Row[] {
  const of = (what: string, unit: string, spreadOf: (rounds: readonly Round[]) => Spread): Row =>
    row({ bench: "http", case: `${name}: ${what}`, unit }, spreadOf(ours), spreadOf(native));
  return [
    of("throughput", "requests/s", (rounds) => spread(rounds.map(({ rate }) => rate))),
    of("latency", "us", latencyOf),
    of("CPU per request", "us", (rounds) => spread(rounds.map(({ cpu }) => cpu))),
  ];
}

/** The median of the rounds, for each of the three numbers. */
function latencyOf(rounds: readonly Round[]): Spread {
  const median = (key: keyof Spread): number => spread(rounds.map(({ latency }) => latency[key])).p50;
  return { min: median("min"), p50: median("p50"), p99: median("p99") };
}
