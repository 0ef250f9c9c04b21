/**
 * Boots and restores instances: one monitor process each, with files in a folder
 * of its own.
 *
 *   launch.json   the launch configuration; the monitor removes it
 *   events        what the monitor tells
 *   output        what the program writes
 *   orders        the socket on which the monitor takes orders
 *
 * Files, not pipes: a monitor neither ends nor waits when the daemon is gone,
 * and a new daemon reads on where the files stand.
 */

import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { asSporeError, sporeError } from "@spore/errors";
import { launchPlan } from "@spore/image";
import { freezeRunning, launchConfig } from "@spore/monitor-client";
import { EventFile, type MonitorEvent } from "./event-file.ts";
import { processesWith, signalProcess, startTicks } from "./process.ts";
import type { Ended, Endpoint, Found, Handle, InstanceDriver, InstanceWatch, LaunchSpec } from "./types.ts";

/** How often a monitor that is not a child is looked for: nobody tells of its end. */
const LOOK_MS = 500;

/** Longest path of a Unix socket. */
const SOCKET_PATH = 107;

/** What a driver needs of the daemon. */
export interface MonitorOptions {
  /** Folder of the instances' folders. */
  readonly folder: string;
  /** Path of the monitor. */
  readonly monitor: string;
  /** Command that explains a crash on the program's output. */
  readonly reporter: readonly string[] | null;
}

/** Port that an app listens on unless something else is said; given to it as PORT. */
export const DEFAULT_PORT = 8080;

/** Makes the driver. */
export function monitorDriver(options: MonitorOptions): InstanceDriver {
  mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  return {
    launch: (spec, watch) => launch(options, spec, watch),
    adopt: (found, watch) => adopt(options, found, watch),
    clean: (id) => rmSync(join(options.folder, id), { recursive: true, force: true }),
    sweep: (known) => sweep(options, known),
  };
}

function launch(options: MonitorOptions, spec: LaunchSpec, watch: InstanceWatch): Handle {
  const folder = join(options.folder, spec.id);
  const file = join(folder, "launch.json");
  const port = portOf(spec);
  const descriptors: number[] = [];
  try {
    mkdirSync(folder, { mode: 0o700 });
    writeFileSync(file, JSON.stringify(configOf(options, spec, port)), { mode: 0o600 });
    for (const name of ["events", "output"]) descriptors.push(openSync(join(folder, name), "a", 0o600));
    const [events = 0, output = 0] = descriptors;
    const child = spawn(options.monitor, ["--config", file], {
      detached: true,
      stdio: ["ignore", events, output],
      env: { PATH: process.env["PATH"] ?? "" },
      cwd: "/",
    });
    const life = new Life(folder, port, spec.snapshot !== null, watch);
    child.on("error", (error) => life.end({ kind: "start-failed", outcome: error.message }));
    child.on("exit", (code, signal) => life.onExit(code, signal));
    child.unref();
    const pid = child.pid ?? 0;
    return handleOf(pid, startTicks(pid) ?? "", life);
  } catch (thrown) {
    rmSync(folder, { recursive: true, force: true });
    const { message } = asSporeError(thrown);
    throw sporeError("SPORE_START_FAILED", { app: spec.app, problem: message }, { cause: thrown });
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}

/** The port that gets the requests. */
function portOf(spec: LaunchSpec): number {
  return spec.port ?? spec.image.defaults.publish?.[0]?.guest ?? DEFAULT_PORT;
}

function configOf(options: MonitorOptions, spec: LaunchSpec, port: number): object {
  const { image, snapshot, destinations } = spec;
  const plan = launchPlan(image, {
    env: { PORT: String(port), ...spec.env },
    hostname: spec.app,
    publish: [{ address: "127.0.0.1", host: 0, guest: port }],
    ...(spec.args !== null && { args: spec.args }),
    ...(spec.cwd !== null && { cwd: spec.cwd }),
    ...(spec.memory !== null && { memory: spec.memory }),
  });
  const rights = { ...plan.rights, destinations: narrowed(plan.rights.destinations, destinations) };
  const { reporter } = options;
  const run = { events: "json", built: null, trace: false, gdb: null, reporter } as const;
  const orders = ordersOf(join(options.folder, spec.id));
  const about = { format: 1, image: { path: image.path, name: image.name }, run: {} } as const;
  const config = launchConfig({ ...plan, rights }, run, {
    snapshot: { image: image.digest, kernel: image.kernel.sha256, about },
    restore: snapshot,
    instance: spec.id,
    orders: orders.length > SOCKET_PATH ? null : orders,
  });
  // What listens on the host's own addresses (other apps, the daemon) is not the guest's to reach.
  return { ...config, policy: { ...config.policy, denyLoopback: true }, graceMs: spec.graceMs };
}

/** What the image and the host allow both. */
function narrowed(image: readonly string[] | null, host: readonly string[] | null): readonly string[] | null {
  if (image === null || host === null) return image ?? host;
  return image.filter((destination) => host.includes(destination));
}

function ordersOf(folder: string): string {
  return join(folder, "orders");
}

function adopt(options: MonitorOptions, found: Found, watch: InstanceWatch): Handle | null {
  const folder = join(options.folder, found.id);
  const file = join(folder, "launch.json");
  const pid = processesWith(file).find(({ word }) => word === file)?.pid;
  const ticks = pid === undefined ? null : startTicks(pid);
  if (pid === undefined || ticks === null || !existsSync(join(folder, "events"))) return null;
  const life = new Life(folder, found.port ?? DEFAULT_PORT, found.restored, watch);
  const timer = setInterval(() => {
    if (startTicks(pid) === ticks) return;
    clearInterval(timer);
    life.onExit(null, null);
  }, LOOK_MS).unref();
  return handleOf(pid, ticks, life);
}

function sweep({ folder }: MonitorOptions, known: ReadonlySet<string>): void {
  const strays = processesWith(`${folder}/`);
  for (const { pid, word } of strays) {
    const id = word.slice(folder.length + 1).split("/")[0] ?? "";
    const ticks = startTicks(pid);
    if (!known.has(id) && ticks !== null) signalProcess(pid, ticks, "SIGKILL");
  }
  for (const id of readdirSync(folder)) {
    if (!known.has(id)) rmSync(join(folder, id), { recursive: true, force: true });
  }
}

function handleOf(pid: number, ticks: string, life: Life): Handle {
  return {
    pid,
    ticks,
    get start() {
      return life.restored ? "snapshot" : "cold";
    },
    freeze: async (path) => {
      await freezeRunning(ordersOf(life.folder), path);
    },
    stop: () => signalProcess(pid, ticks, "SIGTERM"),
    kill: () => signalProcess(pid, ticks, "SIGKILL"),
  };
}

/** Follows one monitor from its events to its end. */
class Life {
  readonly folder: string;
  /** It goes on from a snapshot. */
  restored: boolean;
  readonly #port: number;
  readonly #watch: InstanceWatch;
  readonly #events: EventFile;
  #ended: Ended | null = null;
  #over = false;

  constructor(folder: string, port: number, restored: boolean, watch: InstanceWatch) {
    this.folder = folder;
    this.restored = restored;
    this.#port = port;
    this.#watch = watch;
    this.#events = new EventFile(join(folder, "events"), (event) => this.#onEvent(event));
    // What an adopted monitor wrote before; not before the caller has its handle.
    setImmediate(() => this.#events.read());
  }

  #onEvent(event: MonitorEvent): void {
    if (event.event === "refused") {
      this.restored = false;
      this.#watch.refused(event.message ?? "");
    } else if (event.event === "listening" && event.guestPort === this.#port && event.url !== undefined) {
      const url = new URL(event.url);
      const endpoint: Endpoint = { guestPort: this.#port, host: url.hostname, port: Number(url.port) };
      this.#watch.listening(endpoint);
    } else if (event.event === "exited") {
      const { exitCode, signal } = event;
      this.#ended =
        signal === undefined
          ? { kind: "exited", outcome: `exit status ${exitCode ?? 0}` }
          : { kind: "crashed", outcome: signal };
    }
  }

  onExit(code: number | null, signal: NodeJS.Signals | null): void {
    this.#events.read();
    if (this.#ended !== null) this.end(this.#ended);
    else this.end({ kind: signal === null ? "start-failed" : "crashed", outcome: this.#words(code, signal) });
  }

  /** What the monitor said last, else how it ended. */
  #words(code: number | null, signal: NodeJS.Signals | null): string {
    if (signal !== null) return `the monitor was ended by ${signal}`;
    const line = lastLine(join(this.folder, "output"));
    const said = line === null ? null : /^error\[[A-Z_]+\]: (.*)/.exec(line)?.[0];
    return said ?? (code === null ? "the monitor is gone" : `the monitor ended with status ${code}`);
  }

  end(how: Ended): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.close();
    this.#watch.ended(how);
  }
}

function lastLine(path: string): string | null {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return null;
  }
  try {
    const tail = Buffer.alloc(4096);
    const count = readSync(fd, tail, 0, tail.length, Math.max(0, fstatSync(fd).size - tail.length));
    return tail.toString("utf8", 0, count).trimEnd().split("\n").at(-1) ?? null;
  } finally {
    closeSync(fd);
  }
}
