/** A daemon of a test's own, with its state in a folder of its own. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Client, createClient } from "@spore/api";
import type { Ended, StartOptions } from "./process.ts";
import { spore } from "./spore.ts";

/** A daemon. */
export interface Cloud extends AsyncDisposable {
  readonly port: number;
  /** Its API. */
  readonly api: Client;
  /** Process id of the daemon. */
  pid(): number;
  readonly home: string;
  /** Runs `spore WORDS...` against it. */
  spore(words: readonly string[], options?: StartOptions): Promise<Ended>;
  /** Runs it and reads what it prints as JSON. */
  json<T>(words: readonly string[], options?: StartOptions): Promise<T>;
  /** Asks for a path of an app. */
  get(app: string, path?: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** Monitors that run a program for it. */
  monitors(): readonly number[];
  /** Monitors that stand by for it. */
  standbys(): readonly number[];
  /** Waits until the daemon is gone by itself. */
  died(): Promise<void>;
  /** Ends the daemon as the kernel would. */
  kill(): Promise<void>;
  /** Starts it anew, at the same port. */
  up(options?: StartOptions): Promise<Ended>;
}

/** An answer of an app. */
export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** Starts a daemon at a free port; its state is in a new folder, which `prepare` may prepare. */
export async function cloud(
  words: readonly string[] = [],
  prepare: (state: string) => void = () => {},
): Promise<Cloud> {
  const state = mkdtempSync(join(tmpdir(), "spore-cloud-"));
  prepare(state);
  const home = join(state, "spore");
  // Images come from the store of all tests: only the daemon's state is apart.
  const env = { XDG_STATE_HOME: state, SPORE_HOME: undefined, SPORE_URL: undefined, SPORE_TOKEN: undefined };
  const run = async (what: readonly string[], options: StartOptions = {}): Promise<Ended> =>
    await spore(what, { deadline: 100_000, ...options, env: { ...env, ...options.env } });
  const expectDone = async (what: readonly string[], options?: StartOptions): Promise<Ended> => {
    const ended = await run(what, options);
    if (ended.status !== 0) throw new Error(`spore ${what.join(" ")}: ${ended.stderr}`);
    return ended;
  };
  const first = await expectDone(["up", "--json", "--port", "0", ...words]);
  const port = Number(new URL((JSON.parse(first.stdout) as { gateway: string }).gateway).port);
  const pid = (): number => Number(readFileSync(join(home, "daemon.pid"), "utf8"));
  return {
    port,
    home,
    api: createClient(over(join(home, "api.sock"))),
    pid,
    spore: run,
    json: async <T>(what: readonly string[], options?: StartOptions) =>
      JSON.parse((await expectDone([...what, "--json"], options)).stdout) as T,
    get: (app, path = "/", headers = {}) => ask(port, `${app}.localhost`, path, headers),
    monitors: () => processesOf(join(home, "run/"), "spore-monitor"),
    standbys: () => processesOf(join(home, "run/"), "spore-standby"),
    died: () => gone(pid()),
    kill: async () => {
      const daemon = pid();
      process.kill(daemon, "SIGKILL");
      await gone(daemon);
    },
    up: (options) => run(["up", "--json", "--port", String(port), ...words], options),
    async [Symbol.asyncDispose]() {
      await run(["down"]);
      // A test that failed may have left no daemon to stop them.
      for (const pid of processesOf(join(home, "run/"))) process.kill(pid, "SIGKILL");
      rmSync(state, { recursive: true, force: true });
    },
  };
}

/** A port that nobody uses now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => void server.close(resolve));
  return port;
}

/** Living processes whose command line names a file under `folder`, perhaps only those with a name. */
function processesOf(folder: string, name: string | null = null): readonly number[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      if (name !== null && readFileSync(`/proc/${pid}/comm`, "utf8").trim() !== name) return [];
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      return words.some((word) => word.startsWith(folder)) ? [Number(pid)] : [];
    } catch {
      return [];
    }
  });
}

/** Waits until a process is gone, or is only what its parent has not yet asked about. */
export async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      if (stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z")) return;
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Carries calls of the API over a socket. */
function over(socketPath: string): Parameters<typeof createClient>[0] {
  return ({ method, path, headers, body }) =>
    new Promise((resolve, reject) => {
      const length = typeof body === "string" ? { "content-length": Buffer.byteLength(body) } : {};
      const options = { socketPath, method, path, headers: { ...headers, ...length }, agent: false };
      const sent = request(options, (answer) => resolve({ status: answer.statusCode ?? 0, body: answer }));
      sent.on("error", reject);
      if (body !== null && typeof body !== "string") throw new Error("a test uploads with the command");
      sent.end(body ?? "");
    });
}

function ask(
  port: number,
  host: string,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, headers: { ...headers, host }, agent: false };
    const asked = request(options, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text, headers: answer.headers }));
      answer.on("error", reject);
    });
    asked.on("error", reject);
    asked.end();
  });
}
