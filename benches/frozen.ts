/** Snapshots for benchmarks: one that knows a word which only its memory holds. */

import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildImage, launchPlan } from "@spore/image";
import { type Frozen, Instance, type LaunchConfig, launchConfig, tryOut } from "@spore/monitor-client";
import type { Workshop } from "./workshop.ts";

/** A hello server whose answer ends with a word made at its start. */
const SOURCE = `import { createServer } from "node:http";
const word = "word-" + process.hrtime.bigint();
let requests = 0;
const server = createServer((request, response) => {
  response.setHeader("content-type", "text/plain");
  response.end("Hello from Spore, request " + ++requests + " " + word + "\\n");
});
server.listen(Number(process.env["PORT"] ?? 8080));
`;

/** As many requests as a rollout sends before it freezes a release. */
const WARM_UP = 1000;

/** A server that runs, is warm, and can be frozen. */
export interface WarmServer extends AsyncDisposable {
  readonly instance: Instance;
  readonly url: string;
  /** In every answer. */
  readonly word: string;
  /** Goes on from a file; port 8080 of the guest is published by nobody yet. */
  restored(file: string): LaunchConfig;
  /** The same server natively. */
  readonly source: string;
}

/** A frozen server and what is needed to go on from it. */
export interface FrozenServer {
  readonly file: string;
  /** In every answer, and nowhere but in the frozen memory. */
  readonly word: string;
  /** Goes on from the file; port 8080 of the guest is published by nobody yet. */
  readonly config: LaunchConfig;
  readonly frozen: Frozen;
  /** The same server natively. */
  readonly source: string;
}

/** Starts the server, and warms it up with requests. */
export async function warm(shop: Workshop, memory: number): Promise<WarmServer> {
  const project = join(shop.folder, "frozen-server");
  mkdirSync(project, { recursive: true });
  const manifest = { name: "frozen-server", type: "module", main: "server.js", private: true };
  writeFileSync(join(project, "package.json"), JSON.stringify(manifest));
  const source = join(project, "server.js");
  writeFileSync(source, SOURCE);
  const { image } = await buildImage({ target: project });
  const about = { image: image.digest, kernel: image.kernel.sha256, about: {} };
  const watched = { events: "json", built: null, trace: false, gdb: null, reporter: null } as const;
  const plan = { ...launchPlan(image, { memory }), publish: null };
  const start = launchConfig(plan, watched, { anyPort: true, snapshot: about });
  const instance = Instance.start(shop.monitor, start, { output: "ignore" });
  const listening = await instance.event("listening");
  if (listening === null) throw new Error("the server to freeze has ended");
  let answer = "";
  for (let request = 0; request < WARM_UP; request++) answer = await ask(listening.url);
  return {
    instance,
    url: listening.url,
    word: /word-\d+/.exec(answer)?.[0] ?? "",
    restored: (file) => launchConfig(plan, watched, { restore: file, snapshot: about }),
    source,
    [Symbol.asyncDispose]: () => instance[Symbol.asyncDispose](),
  };
}

/** Freezes a warm server, which ends, and notes what its first request uses. */
export async function freeze(shop: Workshop, memory: number): Promise<FrozenServer> {
  await using server = await warm(shop, memory);
  const file = join(shop.folder, `frozen-${memory}.snap`);
  const frozen = await server.instance.freeze(file, { exit: true });
  await server.instance.ended;
  const config = server.restored(file);
  await tryOut(shop.monitor, config, ask);
  return { file, word: server.word, config, frozen, source: server.source };
}

async function ask(url: string): Promise<string> {
  return await (await fetch(url, { headers: { connection: "close" } })).text();
}

/** Makes the host forget a file's pages. */
export function dropPages(file: string): void {
  execFileSync("dd", [`of=${file}`, "oflag=nocache", "conv=notrunc,fdatasync", "count=0"], {
    stdio: "ignore",
  });
}
