/** What `spore up` and `spore down` do. */

import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { daemonHome, type Status } from "@spore/api";
import { type ErrorCode, registry, SporeError, sporeError } from "@spore/errors";
import { checkKvm, findMonitor } from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import { version } from "../version.ts";
import { clientOf } from "./connection.ts";
import { unit } from "./unit.ts";

/** The flags of `spore up`, as the parser gives them. */
export interface UpFlags {
  readonly port: number | undefined;
  readonly listen: readonly string[];
  readonly "tls-port": number | undefined;
  readonly "tls-cert": string | undefined;
  readonly "tls-key": string | undefined;
  readonly domain: string | undefined;
  readonly api: { readonly host: string; readonly port: number } | undefined;
  readonly standby: number | undefined;
  readonly otlp: string | undefined;
  readonly foreground: boolean;
  readonly "print-unit": boolean;
  readonly json: boolean;
}

const daemonMain = join(root, "packages/daemon/src/main.ts");
/** Requests live shortly: a small young generation holds them, and is collected in no time. */
const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=4"];
/** What uploads and bursts took goes back to the host. */
const daemonEnv: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: "2",
  MALLOC_TRIM_THRESHOLD_: "262144",
};
/** Machines that may stand by. */
const STANDBY = 16;
const DEFAULT_PORT = 8080;
const DEFAULT_TLS_PORT = 8443;
const loopback = ["127.0.0.1", "::1"];
const LOOK_MS = 20;

/** What the daemon says first. */
type Said =
  | {
      readonly event: "ready";
      readonly pid: number;
      readonly gatewayPort: number;
      readonly apiPort: number | null;
    }
  | {
      readonly event: "failed";
      readonly error: { readonly code: string; readonly message: string; readonly next: string };
    };

/** Carries out `spore up`. */
export async function up(flags: UpFlags, context: Context): Promise<number> {
  const words = daemonWords(flags, context);
  if (flags["print-unit"]) {
    context.out(unit(words, { ...context.env, ...daemonEnv }));
    return 0;
  }
  const running = await statusOf(context);
  if (running !== null) return report(running, true, flags, context);
  checkKvm();
  findMonitor(root, context.env);
  if (flags.foreground) return become(words, context);
  const said = await start(words, context);
  if (said.event === "failed") {
    const { code, message, next } = said.error;
    const known = Object.hasOwn(registry, code) ? (code as ErrorCode) : "SPORE_INTERNAL";
    throw new SporeError(known, message, { next });
  }
  const status = await statusOf(context);
  if (status === null) throw failed("it does not answer on its socket", context);
  return report(status, false, flags, context);
}

/** The command line of the daemon. */
function daemonWords(flags: UpFlags, context: Context): readonly string[] {
  const options = {
    home: daemonHome(context.env),
    addresses: flags.listen.length > 0 ? flags.listen : loopback,
    port: flags.port ?? DEFAULT_PORT,
    tls: tlsOf(flags, context),
    domain: flags.domain ?? "localhost",
    api: flags.api ?? null,
    standby: flags.standby ?? STANDBY,
    otlp: flags.otlp ?? null,
    version: version(),
  };
  return [process.execPath, ...NODE_FLAGS, daemonMain, JSON.stringify(options)];
}

function tlsOf(flags: UpFlags, { cwd }: Context) {
  const { "tls-port": port, "tls-cert": cert, "tls-key": key } = flags;
  if (cert === undefined && key === undefined) return port === undefined ? null : { port, files: null };
  if (cert === undefined || key === undefined) {
    throw sporeError("SPORE_USAGE", { problem: "--tls-cert and --tls-key go together", command: "up" });
  }
  return { port: port ?? DEFAULT_TLS_PORT, files: { cert: resolve(cwd, cert), key: resolve(cwd, key) } };
}

function become(words: readonly string[], context: Context): never {
  const [command = "", ...args] = words;
  const { execve } = process;
  if (execve === undefined)
    throw sporeError("SPORE_INTERNAL", { problem: "this Node.js has no process.execve" });
  return execve.call(process, command, [command, ...args], {
    ...context.env,
    ...daemonEnv,
  } as NodeJS.ProcessEnv);
}

/** Starts the daemon on its own; waits until it is ready. */
async function start(words: readonly string[], context: Context): Promise<Said> {
  const home = daemonHome(context.env);
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const log = openSync(join(home, "daemon.log"), "a", 0o600);
  const [command = "", ...args] = words;
  const child = spawn(command, args, {
    detached: true,
    stdio: ["ignore", "pipe", log],
    cwd: "/",
    env: { ...context.env, ...daemonEnv },
  });
  closeSync(log);
  const { stdout } = child;
  if (stdout === null) throw failed("it could not be started", context);
  try {
    for await (const line of createInterface({ input: stdout })) return JSON.parse(line) as Said;
    throw failed("it ended without a word", context);
  } finally {
    stdout.destroy();
    child.unref();
  }
}

function failed(problem: string, context: Context): Error {
  return sporeError("SPORE_DAEMON_FAILED", { problem, log: join(daemonHome(context.env), "daemon.log") });
}

function report(status: Status, already: boolean, flags: UpFlags, context: Context): number {
  if (flags.json) context.out(`${JSON.stringify({ ...status, already })}\n`);
  else if (already) {
    const asked = Object.entries(flags).some(
      ([name, value]) => name !== "json" && value !== undefined && value !== false && String(value) !== "",
    );
    const hint = asked ? "; what was asked for holds after `spore down` and `spore up`" : "";
    context.err(`spore: the daemon runs already (process ${status.pid})${hint}\n`);
  } else context.err(`spore: the daemon runs (process ${status.pid}), state in ${status.home}\n`);
  if (!flags.json) context.out(`${status.gateway}\n`);
  return 0;
}

async function statusOf(context: Context): Promise<Status | null> {
  const { client } = clientOf({ ...context.env, SPORE_URL: undefined });
  const status = await client.call("status");
  return status.ok ? status.value : null;
}

/** Carries out `spore down`. */
export async function down(
  flags: { readonly "keep-instances": boolean; readonly json: boolean },
  context: Context,
): Promise<number> {
  const status = await statusOf(context);
  const pid = status?.pid ?? null;
  if (pid !== null) {
    process.kill(pid, flags["keep-instances"] ? "SIGHUP" : "SIGTERM");
    // The daemon answers until its instances have stopped; it is gone when its number is.
    while (lives(pid)) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  if (flags.json) context.out(`${JSON.stringify({ stopped: pid !== null })}\n`);
  else context.err(pid === null ? "spore: no daemon runs\n" : "spore: the daemon has stopped\n");
  return 0;
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
