/** The cloud on one host: the gateway beside nginx, wakes and deploys. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { thisMachine } from "./machine.ts";
import { type Row, row, type Spread, spread } from "./rows.ts";
import { freePort, node, output, pinned, root, Server, type Workshop } from "./workshop.ts";

const CONNECTIONS = 30;
const WARM_UP_MS = 300;
const MEASURE_MS = 1500;
const ROUNDS = 5;
const NOTHING: Spread = spread([0]);

/** All of it. */
export async function cloud(shop: Workshop): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), "spore-bench-"));
  try {
    return [...(await proxies(shop, folder)), ...(await wakes(shop, folder))];
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

/** A daemon, an app that sleeps at once, and a client that wakes it again and again. */
async function wakes(shop: Workshop, folder: string): Promise<Row[]> {
  const spore = (...words: readonly string[]): Promise<string> =>
    output([
      "/usr/bin/env",
      `XDG_STATE_HOME=${folder}`,
      node,
      "--",
      join(root, "packages/cli/src/main.ts"),
      ...words,
    ]);
  const { gateway } = JSON.parse(await spore("up", "--port", "0", "--json")) as { readonly gateway: string };
  const port = Number(new URL(gateway).port);
  try {
    shop.say("cloud: deploys");
    const hello = join(root, "examples/hello");
    await spore("deploy", hello, "--idle", "1ms", "--json");
    const deploys: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const started = performance.now();
      await spore("deploy", hello, "--json");
      deploys.push((performance.now() - started) / 1000);
    }
    shop.say("cloud: wakes through the gateway");
    const ours: number[] = [];
    for (let sample = 0; sample < shop.samples; sample += 1) {
      await delay(60);
      ours.push(await firstByte(port, "hello.localhost"));
    }
    return [
      row(
        { bench: "cloud", case: "wake through the gateway, first byte", unit: "ms" },
        spread(ours),
        NOTHING,
      ),
      row({ bench: "cloud", case: "deploy of an unchanged app", unit: "s" }, spread(deploys), NOTHING),
    ];
  } finally {
    await spore("down");
  }
}

/** Milliseconds to the first byte of an answer that had to wake its app. */
function firstByte(port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const asked = request({ host: "127.0.0.1", port, headers: { host }, agent: false }, (answer) => {
      const took = performance.now() - started;
      const start = answer.headers["x-spore-start"];
      answer.resume().on("end", () => {
        if (answer.statusCode === 200 && start !== "warm") resolve(took);
        else reject(new Error(`status ${answer.statusCode}, ${start}`));
      });
    });
    asked.on("error", reject).end();
  });
}
