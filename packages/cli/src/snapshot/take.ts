/** What `spore snapshot` does: boot, wait until ready, warm up, freeze. */

import { request } from "node:http";
import { dirname, resolve } from "node:path";
import { sporeError } from "@spore/errors";
import { buildImage, launchPlan } from "@spore/image";
import {
  checkKvm,
  findMonitor,
  freezeRunning,
  Instance,
  inspectSnapshot,
  type LaunchConfig,
  launchConfig,
  sleepRunning,
  tryOut,
} from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import { checkTarget } from "../run.ts";
import { type ImageFlags, resolveSettings } from "../settings/resolve.ts";
import { identity } from "./about.ts";
import type { Readiness } from "./readiness.ts";

/** The flags of `spore snapshot`, as the parser gives them. */
export interface SnapshotFlags extends ImageFlags {
  readonly output: string | undefined;
  readonly ready: Readiness | undefined;
  readonly warm: readonly string[];
  readonly timeout: number | undefined;
  readonly patience: number | undefined;
  readonly orders: string | undefined;
  readonly base: string | undefined;
  readonly sleep: boolean;
  readonly json: boolean;
}

/** How long a program may take to get ready, in milliseconds. */
const PATIENCE = 60_000;

/** Carries out `spore snapshot TARGET -o FILE`. */
export async function takeSnapshot(
  flags: SnapshotFlags,
  words: readonly string[],
  rest: readonly string[] | undefined,
  context: Context,
): Promise<number> {
  if (flags.sleep) return putToSleep(flags, context);
  if (flags.output === undefined) {
    throw sporeError("SPORE_USAGE", { problem: "--output FILE is missing", command: "snapshot" });
  }
  const output = resolve(context.cwd, flags.output);
  const monitor = findMonitor(root, context.env);
  const base =
    flags.base === undefined ? undefined : baseOf(resolve(context.cwd, flags.base), output, monitor);
  const how = { patienceMs: flags.patience, base };
  if (flags.orders !== undefined) {
    report(await freezeRunning(flags.orders, output, how), flags, context);
    return 0;
  }
  const target = words[0] ?? ".";
  checkTarget(target, context.cwd);
  checkKvm();
  const settings = await resolveSettings(target, flags, rest, context.cwd);
  const built = await buildImage(settings.contents);
  const { image } = built;
  const plan = launchPlan(image, settings.defaults);
  const { publish, ...run } = settings.defaults;
  const config = launchConfig(
    // Whatever is published later: for now every listener gets a free port.
    { ...plan, publish: null },
    { events: "json", built: null, trace: false, gdb: null, reporter: null },
    { snapshot: identity(image, publish ? { ...run, publish } : run), anyPort: true },
  );
  await using instance = Instance.start(monitor, config);
  const patience = flags.timeout ?? PATIENCE;
  await within(patience, warmUp(instance, flags));
  const frozen = await instance.freeze(output, { exit: true, ...how });
  await instance.ended;
  await noteUse(monitor, { ...config, restore: output }, flags, patience);
  report(frozen, flags, context);
  return 0;
}

/** Puts a machine that runs to sleep. */
async function putToSleep({ orders, patience, json }: SnapshotFlags, context: Context): Promise<number> {
  if (orders === undefined) {
    throw sporeError("SPORE_USAGE", { problem: "--orders SOCKET is missing", command: "snapshot" });
  }
  const socket = resolve(context.cwd, orders);
  const slept = await sleepRunning(socket, `${socket}.asleep`, { patienceMs: patience });
  if (json) context.out(`${JSON.stringify({ event: "asleep", ...slept })}\n`);
  else context.err(`spore: it sleeps, and takes ${(slept.bytes / 2 ** 20).toFixed(1)} MiB on disk\n`);
  return 0;
}

/** A base is found by its name, and must be whole: what is made on it cannot be better. */
function baseOf(base: string, output: string, monitor: string): string {
  if (dirname(base) !== dirname(output) || base === output) {
    const problem = "--base must name another file in the folder of --output";
    throw sporeError("SPORE_USAGE", { problem, command: "snapshot" });
  }
  inspectSnapshot(monitor, base, true);
  return base;
}

/** A first request on trial shows which memory every restore needs at once. */
async function noteUse(
  monitor: string,
  config: LaunchConfig,
  { ready, warm }: SnapshotFlags,
  patience: number,
): Promise<void> {
  const path = warm.at(-1) ?? (ready?.kind === "http" ? ready.path : undefined);
  if (path === undefined) return;
  const port = ready?.kind === "port" ? ready.port : undefined;
  try {
    await within(
      patience,
      tryOut(monitor, config, (url) => get(url, path), port),
    );
  } catch {
    // Restores are right without it, only slower.
  }
}

function report(frozen: Awaited<ReturnType<typeof freezeRunning>>, flags: SnapshotFlags, context: Context) {
  if (flags.json) {
    context.out(`${JSON.stringify({ event: "frozen", ...frozen })}\n`);
    return;
  }
  const size = (frozen.bytes / 2 ** 20).toFixed(1);
  const pause = (frozen.pauseUs / 1000).toFixed(1);
  context.err(`spore: wrote ${flags.output} (${size} MiB); the program stood still for ${pause} ms\n`);
}

/** Waits until the program is ready, and sends it the warm-up requests. */
async function warmUp(instance: Instance, flags: SnapshotFlags): Promise<void> {
  const { ready } = flags;
  const port = ready?.kind === "port" ? ready.port : undefined;
  if (ready?.kind === "signal") {
    if ((await instance.event("ready")) === null) throw ended(instance);
    if (flags.warm.length === 0) return;
  }
  const listening = await instance.event("listening", ({ guestPort }) => (port ?? guestPort) === guestPort);
  if (listening === null) throw ended(instance);
  if (ready?.kind === "http") {
    while ((await get(listening.url, ready.path)) >= 400) await new Promise((next) => setTimeout(next, 20));
  }
  for (const path of flags.warm) {
    const status = await get(listening.url, path);
    if (status >= 400) {
      const problem = `the warm-up request ${path} was answered with status ${status}`;
      throw sporeError("SPORE_SNAPSHOT_FAILED", { problem });
    }
  }
}

/** One request on a connection of its own, which is closed before the freeze. */
function get(url: string, path: string): Promise<number> {
  return new Promise((settle) => {
    const asked = request(
      new URL(path, url),
      { agent: false, headers: { connection: "close" } },
      (answer) => {
        answer.resume().on("close", () => settle(answer.statusCode ?? 500));
      },
    );
    asked.on("error", () => settle(599)).end();
  });
}

function ended(instance: Instance): Error {
  const exited = instance.events.find(({ event }) => event === "exited");
  const how = exited?.event === "exited" ? (exited.signal ?? `status ${exited.exitCode}`) : "no word";
  return sporeError("SPORE_SNAPSHOT_FAILED", {
    problem: `the program ended with ${how} before it was ready`,
  });
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const problem = `the program was not ready within ${ms / 1000} s`;
      reject(sporeError("SPORE_SNAPSHOT_FAILED", { problem }));
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
