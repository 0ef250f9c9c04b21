/**
 * Where the daemon starts: `main.ts OPTIONS`, one JSON object. Says that it is
 * ready, or why not, in one JSON line on standard output; its log is JSON lines
 * on standard error.
 */

import { totalmem } from "node:os";
import { join, resolve } from "node:path";
import { asSporeError } from "@spore/errors";
import { checkKvm, findMonitor } from "@spore/monitor-client";
import * as z from "zod";
import { type Daemon, startDaemon } from "./daemon.ts";

const optionsSchema = z.strictObject({
  home: z.string(),
  addresses: z.array(z.string()),
  port: z.int(),
  tls: z
    .strictObject({
      port: z.int(),
      files: z.strictObject({ cert: z.string(), key: z.string() }).nullable(),
    })
    .nullable(),
  domain: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/)
    .max(200),
  api: z.strictObject({ host: z.string(), port: z.int() }).nullable(),
  standby: z.int().min(0),
  otlp: z.url({ protocol: /^https?$/ }).nullable(),
  version: z.string(),
});

/** Machines that stand by may take such a part of the host's memory. */
const STANDBY_PART = 8;

const root = resolve(import.meta.dirname, "../../..");

function log(line: Readonly<Record<string, unknown>>): void {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`);
}

/** The reader may be gone: a daemon outlives the command that started it. */
function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function start(): Promise<Daemon> {
  const given = optionsSchema.parse(JSON.parse(process.argv[2] ?? "{}"));
  checkKvm();
  const reporter = [process.execPath, join(root, "packages/cli/src/main.ts"), "crash-report"];
  const daemon = await startDaemon({
    ...given,
    monitor: findMonitor(root),
    reporter,
    standby: { count: given.standby, bytes: totalmem() / STANDBY_PART },
    env: process.env,
    log,
  });
  say({ event: "ready", pid: process.pid, gatewayPort: daemon.gatewayPort, apiPort: daemon.apiPort });
  return daemon;
}

process.stdout.on("error", () => {});
process.stderr.on("error", () => {});
// Whatever happens to one request, the others go on.
process.on("uncaughtException", (error) =>
  log({ level: "fatal", message: error.message, stack: error.stack }),
);
process.on("unhandledRejection", (reason) => {
  const stack = reason instanceof Error ? reason.stack : String(reason);
  log({ level: "fatal", message: "a rejection that nobody handled", stack });
});

try {
  const daemon = await start();
  let leaving = false;
  const leave = (instances: "keep" | "stop"): void => {
    if (leaving) return;
    leaving = true;
    void daemon.close(instances).then(
      () => process.exit(0),
      (thrown: unknown) => {
        log({ level: "error", message: asSporeError(thrown).message });
        process.exit(70);
      },
    );
  };
  // SIGTERM is `spore down`; SIGHUP ends the daemon alone, for another version of it.
  process.on("SIGTERM", () => leave("stop"));
  process.on("SIGINT", () => leave("stop"));
  process.on("SIGHUP", () => leave("keep"));
} catch (thrown) {
  const { code, message, next, exitStatus } = asSporeError(thrown);
  say({ event: "failed", error: { code, message, next } });
  process.exit(exitStatus);
}
