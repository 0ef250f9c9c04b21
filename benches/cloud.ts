/** The cloud on one host: the gateway beside nginx, wakes and deploys. */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { type Client, createClient, type Release, type Transport } from "@spore/api";
import { thisMachine } from "./machine.ts";
import { type Row, row, type Spread, spread } from "./rows.ts";
import { directWakes, MEMORY } from "./wake.ts";
import { freePort, node, output, pinned, root, Server, type Workshop } from "./workshop.ts";

const CONNECTIONS = 30;
const WARM_UP_MS = 300;
const MEASURE_MS = 1500;
const ROUNDS = 5;
/** Apps of a host on which nobody calls, and how long it is looked at. */
const SLEEPING = 1000;
const IDLE_MS = 10_000;
const NOTHING: Spread = spread([0]);

/** All of it. */
export async function cloud(shop: Workshop): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), "spore-bench-"));
  try {
    const rows: Row[] = [];
    for (const part of [proxies, wakes, deploys, asleep]) rows.push(...(await part(shop, folder)));
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Gateway and nginx on one core; client and what is behind them on the other. */
async function proxies(shop: Workshop, folder: string): Promise<Row[]> {
  const [first, second] = thisMachine().processors;
  if (first === undefined || second === undefined) {
    shop.say("cloud: the proxies are left out, it takes two processors to measure one");
    return [];
  }
  shop.say("cloud: gateway and nginx as proxies");
  const load = shop.compile("load");
  const [behind, theirs, ours] = [await freePort(), await freePort(), await freePort()];
  const answer = 'default_type text/plain; return 200 "Hello from Spore\\n";';
  const pass = 'proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";';
  const upstream = `upstream up { server 127.0.0.1:${behind}; keepalive 128; keepalive_requests 100000000; }`;
  await using app = await nginx(folder, "app", second, behind, "", answer);
  await using proxy = await nginx(folder, "proxy", first, theirs, upstream, pass);
  const program = join(root, "benches/programs/gateway.ts");
  await using gateway = await Server.start(
    pinned([first], [node, program, String(ours), String(behind)]),
    ours,
    {},
  );
  const measured = async (server: Server, connections: number): Promise<readonly number[]> => {
    const args = [server.port, connections, WARM_UP_MS, MEASURE_MS].map(String);
    return (await output(pinned([second], [load, ...args]))).split(" ").map(Number);
  };
  const rates: [number[], number[]] = [[], []];
  const added: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    const [, , direct = 0] = await measured(app, 1);
    for (const [index, server] of [gateway, proxy].entries()) {
      const [rate = 0] = await measured(server, CONNECTIONS);
      rates[index]?.push(rate);
      const [, , latency = 0] = await measured(server, 1);
      added[index]?.push(latency - direct);
    }
  }
  const of = (name: string, unit: string, [one, other]: readonly [number[], number[]]): Row =>
    row({ bench: "cloud", case: name, unit }, spread(one), spread(other));
  return [
    of(`proxy beside nginx, ${CONNECTIONS} connections, one core`, "requests/s", rates),
    of("proxy beside nginx, time added to a request", "us", added),
  ];
}

async function nginx(
  folder: string,
  name: string,
  processor: number,
  port: number,
  upstream: string,
  place: string,
): Promise<Server> {
  const file = join(folder, `${name}.conf`);
  const text = `daemon off; worker_processes 1; pid ${folder}/${name}.pid; error_log ${folder}/${name}.log;
    events { worker_connections 1024; }
    http { access_log off; keepalive_requests 100000000; ${upstream}
      server { listen 127.0.0.1:${port}; location / { ${place} } } }`;
  writeFileSync(file, text);
  return await Server.start(pinned([processor], ["nginx", "-c", file]), port, {});
}

/** A daemon of the benchmark's own. */
class Cloud implements AsyncDisposable {
  readonly port: number;
  readonly api: Client;
  readonly #folder: string;
  readonly #socket: string;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.port = port;
    this.#socket = join(folder, "spore/api.sock");
    this.api = createClient(over(this.#socket));
  }

  static async start(folder: string, ...words: readonly string[]): Promise<Cloud> {
    const state = mkdtempSync(join(folder, "state-"));
    const up = await run(state, "up", "--port", "0", "--json", ...words);
    const { gateway } = JSON.parse(up) as { readonly gateway: string };
    return new Cloud(state, Number(new URL(gateway).port));
  }

  spore(...words: readonly string[]): Promise<string> {
    return run(this.#folder, ...words);
  }

  get pid(): number {
    return Number(readFileSync(join(this.#folder, "spore/daemon.pid"), "utf8"));
  }

  /** Waits until so many instances run and machines stand by. */
  async until(ready: number, standby: number): Promise<void> {
    for (;;) {
      const text = await textOf(this.#socket, "/metrics");
      const count = (state: string): number =>
        Number(new RegExp(`^spore_instances{state="${state}"} (\\d+)$`, "m").exec(text)?.[1]);
      const others = count("starting") + count("draining");
      if (count("ready") === ready && count("standby") === standby && others === 0) return;
      await delay(20);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spore("down");
  }
}

function run(state: string, ...words: readonly string[]): Promise<string> {
  return output(["/usr/bin/env", `XDG_STATE_HOME=${state}`, join(root, "spore"), ...words]);
}

/** Carries calls of the API over a socket. */
function over(socketPath: string): Transport {
  return ({ method, path, headers, body }) =>
    new Promise((resolve, reject) => {
      const text = typeof body === "string" ? body : "";
      const length = { "content-length": Buffer.byteLength(text) };
      const sent = request({ socketPath, method, path, headers: { ...headers, ...length }, agent: false });
      sent.on("response", (answer) => resolve({ status: answer.statusCode ?? 0, body: answer }));
      sent.on("error", reject).end(text);
    });
}

async function textOf(socketPath: string, path: string): Promise<string> {
  const answer = await over(socketPath)({ method: "GET", path, headers: {}, body: null });
  let text = "";
  for await (const part of answer.body) text += Buffer.from(part).toString("utf8");
  return text;
}

/** A server that sleeps at once, and a client that wakes it again and again, with and without a gateway before it. */
async function wakes(shop: Workshop, folder: string): Promise<Row[]> {
  const { server, times } = await directWakes(shop);
  await using cloud = await Cloud.start(folder);
  // The client asks for the host "a".
  const words = ["--name", "app", "--domain", "a", "--memory", String(MEMORY), "--idle", "1ms", "--json"];
  await cloud.spore("deploy", dirname(server.source), ...words);
  shop.say("cloud: wakes through the gateway");
  const client = spawn(shop.compile("first-byte"), [String(cloud.port), "/", "word-"]);
  const answers = createInterface({ input: client.stdout });
  const ours: number[] = [];
  try {
    for (let sample = 0; sample < shop.samples; sample += 1) {
      await cloud.until(0, 1);
      const answer = once(answers, "line");
      client.stdin.write("\n");
      const [begin = 0, end = 0] = String((await answer)[0])
        .split(" ")
        .map(Number);
      if (Number.isNaN(begin)) throw new Error("a wake was lost");
      ours.push((end - begin) / 1e6);
    }
  } finally {
    client.kill("SIGKILL");
  }
  const place = {
    bench: "cloud",
    case: "wake through the gateway beside a direct one, first byte",
    unit: "ms",
  };
  return [row(place, spread(ours), times)];
}

/** Deploys with a client that looks when the new release answers. */
async function deploys(shop: Workshop, folder: string): Promise<Row[]> {
  shop.say("cloud: deploys");
  await using cloud = await Cloud.start(folder);
  const project = join(folder, "hello");
  cpSync(join(root, "examples/hello"), project, { recursive: true });
  const source = join(project, "src/server.ts");
  const text = readFileSync(source, "utf8");
  const deploy = async (): Promise<number> => {
    const started = performance.now();
    await cloud.spore("deploy", project, "--json");
    return (performance.now() - started) / 1000;
  };
  await deploy();
  const [same, edited]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    same.push(await deploy());
    writeFileSync(source, text.replace("Hello", `Hello ${round}`));
    edited.push(await deploy());
  }
  const of = (name: string, values: readonly number[]): Row =>
    row({ bench: "cloud", case: name, unit: "s" }, spread(values), NOTHING);
  return [of("deploy of an unchanged app", same), of("deploy of an app with one file changed", edited)];
}

/** A daemon with many apps, all of which sleep. */
async function asleep(shop: Workshop, folder: string): Promise<Row[]> {
  shop.say(`cloud: ${SLEEPING} apps that sleep`);
  await using cloud = await Cloud.start(folder, "--standby", "0");
  const program = join(folder, "answer");
  const source = join(root, "tests/fixtures/programs/answer.c");
  execFileSync("gcc", ["-O2", "-static", "-o", program, source]);
  await cloud.spore("deploy", "--name", "app-0", "--memory", "32M", "--idle", "1ms", "--json", program);
  const [first] = JSON.parse(await cloud.spore("releases", "app-0", "--json")) as readonly Release[];
  for (let index = 1; index < SLEEPING; index += 1) {
    const made = await cloud.api.call("deploy", {
      params: { app: `app-${index}` },
      body: {
        image: first?.image ?? "",
        config: { memory: first?.config.memory ?? null },
        settings: { scaling: { idleMs: 1 } },
      },
    });
    if (!made.ok) throw new Error(JSON.stringify(made));
    // Some at a time.
    if (index % 8 === 0) await cloud.until(0, 0);
  }
  await cloud.until(0, 0);
  const [cpu, memory]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    const [before, begun] = [processorTime(cloud.pid), performance.now()];
    await delay(IDLE_MS);
    cpu.push(((processorTime(cloud.pid) - before) / (performance.now() - begun)) * 100);
    const status = readFileSync(`/proc/${cloud.pid}/status`, "utf8");
    memory.push(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024);
  }
  const of = (what: string, unit: string, values: readonly number[]): Row =>
    row({ bench: "cloud", case: `${SLEEPING} apps asleep, ${what}`, unit }, spread(values), NOTHING);
  return [of("processor", "%", cpu), of("memory of the daemon", "MiB", memory)];
}

/** Milliseconds of processor time of a process so far. */
function processorTime(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // utime and stime, in hundredths of a second on every Linux.
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
