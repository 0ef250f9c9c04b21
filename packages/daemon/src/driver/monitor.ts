/**
 * Boots, restores and wakes instances: one monitor process each, with files in a
 * folder of its own.
 *
 *   launch.json   the launch configuration of one that did not stand by; the monitor removes it
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
  type Stats,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { Writable } from "node:stream";
import type { StartKind } from "@spore/api";
import { asSporeError, sporeError } from "@spore/errors";
import { launchPlan, storeAt } from "@spore/image";
import {
  freezeRunning,
  type LaunchConfig,
  type Listening,
  launchConfig,
  sleepRunning,
  snapshotHead,
  tryOut,
} from "@spore/monitor-client";
import { EventFile, type MonitorEvent } from "./event-file.ts";
import { processesWith, signalProcess, startTicks } from "./process.ts";
import { type StandbyLimits, type StandbyPlan, Standbys, type Standing } from "./standby.ts";
import type { Ended, Endpoint, Found, Handle, InstanceDriver, InstanceWatch, LaunchSpec } from "./types.ts";

/** How often a monitor that is not a child is looked for: nobody tells of its end. */
const LOOK_MS = 500;

/** Descriptor of the pipe that brings a monitor its secrets: they are in no file. */
const ENV_PIPE = 3;
/** Longest path of a Unix socket. */
const SOCKET_PATH = 107;

/** Folder of the machines that stand by, beside those of instances. */
const STANDING = "standby";

/** What a driver needs of the daemon. */
export interface MonitorOptions {
  /** Folder of the instances' folders. */
  readonly folder: string;
  /** Path of the monitor. */
  readonly monitor: string;
  /** Command that explains a crash on the program's output. */
  readonly reporter: readonly string[] | null;
  /** Machines that may stand by. */
  readonly standby: StandbyLimits;
}

/** Port that an app listens on unless something else is said; given to it as PORT. */
export const DEFAULT_PORT = 8080;

/** Makes the driver. */
export function monitorDriver(options: MonitorOptions): InstanceDriver {
  const standing = join(options.folder, STANDING);
  // Configurations of shells that ended with an earlier daemon.
  rmSync(standing, { recursive: true, force: true });
  mkdirSync(standing, { recursive: true, mode: 0o700 });
  const standbys = new Standbys(standing, options.monitor, options.standby);
  return {
    launch: (spec, watch) => {
      const plan = standbyPlan(options, spec);
      const standing = plan === null ? null : standbys.take(plan.key);
      const handle = launch(options, spec, watch, standing);
      if (plan !== null) standbys.use(plan);
      return handle;
    },
    standBy: (spec) => {
      const plan = standbyPlan(options, spec);
      if (plan !== null) standbys.use(plan);
    },
    tryOut: async (spec, ask) => {
      const port = portOf(spec);
      const orders = socketIn(standing, `trial-${spec.id}`);
      const config = { ...configOf(options, spec), orders, internal: null };
      await tryOut(options.monitor, config, (url) => ask(endpointOf({ guestPort: port, url })), port);
    },
    get standing() {
      return standbys.standing;
    },
    standingBytes: (belongs) => standbys.bytesOf(belongs),
    dismiss: (app, kept) => {
      const files = kept.map((path) => statSync(path, { throwIfNoEntry: false }));
      standbys.dismiss(
        app,
        files.map((stat) => (stat === undefined ? "" : fileOf(stat))),
      );
    },
    adopt: (found, watch) => adopt(options, found, watch),
    clean: (id) => {
      rmSync(join(options.folder, id), { recursive: true, force: true });
      standbys.onRoom();
    },
    sweep: (known) => sweep(options, known),
    close: () => standbys.close(),
  };
}

function launch(
  options: MonitorOptions,
  spec: LaunchSpec,
  watch: InstanceWatch,
  standing: Standing | null,
): Handle {
  const folder = join(options.folder, spec.id);
  try {
    mkdirSync(folder, { mode: 0o700 });
    const life = new Life(folder, { port: portOf(spec), ready: spec.ready }, spec.snapshot !== null, watch);
    const machine = new Machine(life);
    machine.mayBeKept = Object.keys(spec.secrets).length === 0;
    if (standing === null) start(options, spec, machine);
    else wake(options, spec, machine, standing);
    return machine;
  } catch (thrown) {
    rmSync(folder, { recursive: true, force: true });
    throw thrown;
  }
}

/** As a process of its own. */
function start(options: MonitorOptions, spec: LaunchSpec, machine: Machine): void {
  const { life } = machine;
  const file = join(life.folder, "launch.json");
  const { env, ...config } = configOf(options, spec);
  const secrets = Object.entries(spec.secrets).map(([name, value]) => `${name}=${value}`);
  const own = env.filter(
    (variable) => !Object.hasOwn(spec.secrets, variable.slice(0, variable.indexOf("="))),
  );
  const launch = { ...config, env: own, envPipe: secrets.length > 0 ? ENV_PIPE : null };
  writeFileSync(file, JSON.stringify(launch), { mode: 0o600 });
  const [events, output] = ["events", "output"].map((name) => openSync(join(life.folder, name), "a", 0o600));
  try {
    const child = spawn(options.monitor, ["--config", file], {
      detached: true,
      stdio: ["ignore", events, output, secrets.length > 0 ? "pipe" : "ignore"],
      env: { PATH: process.env["PATH"] ?? "" },
      cwd: "/",
    });
    child.on("error", (error) => life.end({ kind: "start-failed", outcome: error.message }));
    child.on("exit", (code, signal) => life.onExit(code, signal));
    child.unref();
    const pipe = child.stdio[ENV_PIPE];
    if (pipe instanceof Writable) {
      // A monitor that has ended takes nothing; its end is told of.
      pipe.on("error", () => {});
      pipe.end(JSON.stringify(secrets));
    }
    machine.is(child.pid ?? 0, startTicks(child.pid ?? 0) ?? "");
    life.begin();
  } finally {
    for (const descriptor of [events, output]) if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** As one that stands by. */
function wake(options: MonitorOptions, spec: LaunchSpec, machine: Machine, { shell, ticks }: Standing): void {
  const { life } = machine;
  machine.is(shell.pid, ticks);
  const told = monotonic();
  const port = portOf(spec);
  const ahead = shell.listening.find(({ guestPort }) => guestPort === port);
  machine.ahead = ahead === undefined ? null : endpointOf(ahead);
  let woken = false;
  const wish = {
    files: { events: join(life.folder, "events"), output: join(life.folder, "output") },
    orders: ordersOf(life.folder),
    hostname: hostnameOf(spec),
    instance: spec.id,
  };
  shell.wake(wish, {
    woken: ({ received, prepared, resumed }) => {
      woken = true;
      machine.phases = {
        shell: (received - told) / 1e6,
        restore: (prepared - received) / 1e6,
        resume: (resumed - prepared) / 1e6,
      };
      if (machine.ahead !== null) life.listens(machine.ahead);
      else life.look();
    },
    ended: (status) => {
      if (woken || machine.leaving) life.onExit(status, null);
      // It was gone before it had run anything.
      else startInstead(options, spec, machine);
    },
  });
}

function startInstead(options: MonitorOptions, spec: LaunchSpec, machine: Machine): void {
  machine.ahead = null;
  machine.life.moved();
  try {
    start(options, spec, machine);
  } catch (thrown) {
    machine.life.end({ kind: "start-failed", outcome: asSporeError(thrown).message });
  }
}

/** CLOCK_MONOTONIC, in nanoseconds. */
function monotonic(): number {
  return Number(process.hrtime.bigint());
}

/** Null: it boots. */
function standbyPlan(options: MonitorOptions, spec: LaunchSpec): StandbyPlan | null {
  const { app, snapshot, destinations } = spec;
  const stat = snapshot === null ? undefined : statSync(snapshot, { throwIfNoEntry: false });
  if (stat === undefined) return null;
  const file = fileOf(stat);
  // What an app may reach can change without a release.
  const key = JSON.stringify([file, destinations]);
  const bytes = () => snapshotHead(snapshot ?? "")?.content ?? stat.size;
  return { app, snapshot: file, key, bytes, config: () => configOf(options, spec) };
}

/** A file, whatever its names are: releases that are the same share their snapshot. */
function fileOf({ dev, ino, mtimeMs }: Stats): string {
  return `${dev}:${ino}:${mtimeMs}`;
}

function endpointOf({ guestPort, url }: Listening): Endpoint {
  const { hostname, port } = new URL(url);
  return { guestPort, host: hostname, port: Number(port) };
}

/** The port that gets the requests. */
function portOf(spec: LaunchSpec): number {
  return (
    spec.port ??
    spec.image.defaults.publish?.find(({ protocol }) => protocol === undefined)?.guest ??
    DEFAULT_PORT
  );
}

function configOf(options: MonitorOptions, spec: LaunchSpec): LaunchConfig {
  const { image, snapshot, destinations } = spec;
  const port = portOf(spec);
  const run = {
    env: { PORT: String(port), ...spec.env },
    hostname: hostnameOf(spec),
    publish: [{ address: "127.0.0.1", host: 0, guest: port }],
    ...(spec.args !== null && { args: spec.args }),
    ...(spec.cwd !== null && { cwd: spec.cwd }),
    ...(spec.memory !== null && { memory: spec.memory }),
  };
  const plan = launchPlan(image, run, storeAt(join(dirname(image.path), "../..")));
  const rights = { ...plan.rights, destinations: narrowed(plan.rights.destinations, destinations) };
  const { reporter } = options;
  const watched = { events: "json", built: null, trace: false, gdb: null, reporter } as const;
  const about = { format: 1, image: { path: image.path, name: image.name }, run: {} } as const;
  const config = launchConfig({ ...plan, rights }, watched, {
    snapshot: { image: image.digest, kernel: image.kernel.sha256, about },
    restore: snapshot,
    instance: spec.id,
    orders: ordersOf(join(options.folder, spec.id)),
  });
  // What listens on the host's own addresses (other apps, the daemon) is not the guest's to reach.
  const confined = {
    ...config,
    policy: { ...config.policy, denyLoopback: true },
    internal: spec.internal,
    graceMs: spec.graceMs,
  };
  return confined;
}

/** What the image and the host allow both. */
function narrowed(image: readonly string[] | null, host: readonly string[] | null): readonly string[] | null {
  if (image === null || host === null) return image ?? host;
  return image.filter((destination) => host.includes(destination));
}

/** Null: no socket can have such a long name, and the instance is never frozen. */
function ordersOf(folder: string): string | null {
  return socketIn(folder, "orders");
}

function socketIn(folder: string, name: string): string | null {
  const path = join(folder, name);
  return path.length > SOCKET_PATH ? null : path;
}

/** The app's name, and what tells its instances apart. */
function hostnameOf({ app, id }: LaunchSpec): string {
  return `${app}-${id.slice(-6)}`;
}

function adopt(options: MonitorOptions, found: Found, watch: InstanceWatch): Handle | null {
  const folder = join(options.folder, found.id);
  const { pid, ticks } = found;
  if (pid === null || ticks === null || startTicks(pid) !== ticks) return null;
  if (!existsSync(join(folder, "events"))) return null;
  const { port, ready, restored } = found;
  const life = new Life(folder, { port: port ?? DEFAULT_PORT, ready }, restored, watch).begin();
  const timer = setInterval(() => {
    if (startTicks(pid) === ticks) return;
    clearInterval(timer);
    life.onExit(null, null);
  }, LOOK_MS).unref();
  return new Machine(life, pid, ticks);
}

function sweep({ folder }: MonitorOptions, known: ReadonlyMap<string, number | null>): void {
  const pids = new Set(known.values());
  for (const { pid } of processesWith(`${folder}/`)) {
    const ticks = startTicks(pid);
    if (!pids.has(pid) && ticks !== null) signalProcess(pid, ticks, "SIGKILL");
  }
  for (const id of readdirSync(folder)) {
    if (id !== STANDING && !known.has(id)) rmSync(join(folder, id), { recursive: true, force: true });
  }
}

/** The process of an instance. */
class Machine implements Handle {
  readonly life: Life;
  phases: Readonly<Record<string, number>> = {};
  ahead: Endpoint | null = null;
  /** It was told to end. */
  leaving = false;
  /** Its memory may be in a file: there are no secrets in it. */
  mayBeKept = false;
  #pid: number;
  #ticks: string;

  constructor(life: Life, pid = 0, ticks = "") {
    this.life = life;
    this.#pid = pid;
    this.#ticks = ticks;
  }

  /** It is this process from now on. */
  is(pid: number, ticks: string): void {
    this.#pid = pid;
    this.#ticks = ticks;
  }

  get pid(): number {
    return this.#pid;
  }

  get ticks(): string {
    return this.#ticks;
  }

  get start(): StartKind {
    return this.life.restored ? "snapshot" : "cold";
  }

  get missing(): string {
    return this.life.missing;
  }

  async freeze(path: string, base: string | null): Promise<void> {
    const orders = ordersOf(this.life.folder);
    if (orders === null) {
      throw sporeError("SPORE_SNAPSHOT_FAILED", { problem: "the path of the state's folder is too long" });
    }
    await freezeRunning(orders, path, base === null ? {} : { base });
  }

  get sleep(): (() => Promise<void>) | null {
    const orders = ordersOf(this.life.folder);
    if (!this.mayBeKept || orders === null) return null;
    return async () => {
      await sleepRunning(orders, join(this.life.folder, "asleep"));
    };
  }

  look(): void {
    this.life.look();
  }

  stop(): void {
    this.leaving = true;
    signalProcess(this.#pid, this.#ticks, "SIGTERM");
  }

  kill(): void {
    this.leaving = true;
    signalProcess(this.#pid, this.#ticks, "SIGKILL");
  }
}

/** When an instance is ready. */
interface Readiness {
  /** Port of the guest that it must listen on. */
  readonly port: number;
  readonly ready: LaunchSpec["ready"];
}

/** Follows one monitor from its events to its end. */
class Life {
  readonly folder: string;
  /** It goes on from a snapshot. */
  restored: boolean;
  readonly #wanted: Readiness;
  readonly #watch: InstanceWatch;
  #events: EventFile | null = null;
  #ended: Ended | null = null;
  #endpoint: Endpoint | null = null;
  #ready: boolean;
  /** A port that it listens on, and that nobody asked for. */
  #elsewhere: number | null = null;
  #over = false;

  constructor(folder: string, wanted: Readiness, restored: boolean, watch: InstanceWatch) {
    this.folder = folder;
    this.restored = restored;
    this.#wanted = wanted;
    // What was frozen had been ready.
    this.#ready = restored || wanted.ready !== "signal";
    this.#watch = watch;
  }

  /** Follows its events, not before the caller has its handle. */
  begin(): this {
    setImmediate(() => this.look());
    return this;
  }

  #onEvent(event: MonitorEvent): void {
    if (event.event === "refused") {
      this.restored = false;
      this.#ready = this.#wanted.ready !== "signal";
      this.#watch.refused(event.message ?? "");
    } else if (event.event === "holds") {
      this.#watch.holds(event.count ?? 0);
    } else if (event.event === "awake") {
      this.#watch.awake();
    } else if (event.event === "ready") {
      this.#ready = true;
      this.#tellReady();
    } else if (event.event === "listening" && event.guestPort === this.#wanted.port) {
      this.listens(endpointOf({ guestPort: event.guestPort, url: event.url ?? "" }));
    } else if (event.event === "unpublished") {
      this.#elsewhere ??= event.guestPort ?? null;
    } else if (event.event === "exited") {
      const { exitCode, signal } = event;
      this.#ended =
        signal === undefined
          ? { kind: "exited", outcome: `exit status ${exitCode ?? 0}` }
          : { kind: "crashed", outcome: signal };
    }
  }

  get missing(): string {
    const { port } = this.#wanted;
    if (this.#endpoint !== null) return "it did not call ready() in time";
    if (this.#elsewhere === null) return `it did not listen on port ${port} in time`;
    return `it listens on port ${this.#elsewhere}, not on ${port} (PORT says which, or \`spore deploy --port\`)`;
  }

  #tellReady(): void {
    if (this.#ready && this.#endpoint !== null) this.#watch.listening(this.#endpoint);
  }

  /** It listens there. */
  listens(endpoint: Endpoint): void {
    this.#endpoint = endpoint;
    this.#tellReady();
  }

  /** It comes to life in another process than it was to. */
  moved(): void {
    this.#watch.moved();
  }

  /** There are news, without waiting for the file system to say so; it is followed from now on. */
  look(): void {
    if (this.#over) return;
    this.#events ??= new EventFile(join(this.folder, "events"), (event) => this.#onEvent(event));
    this.#events.read();
  }

  /** Neither is known of a process that was not started by this one. */
  onExit(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#over) return;
    this.look();
    if (this.#ended !== null) this.end(this.#ended);
    else {
      const kind = this.#endpoint !== null || signal !== null ? "crashed" : "start-failed";
      this.end({ kind, outcome: this.#words(code, signal) });
    }
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
    this.#events?.close();
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
