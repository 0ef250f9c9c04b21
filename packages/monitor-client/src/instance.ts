/** A running monitor as an object: its events, the orders it takes, its end. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { type ErrorCode, registry, SporeError, sporeError } from "@spore/errors";
import { writeConfigFile } from "./config-file.ts";
import type { LaunchConfig } from "./launch-config.ts";

/** What a monitor tells. */
export type MonitorEvent =
  | { readonly event: "built"; readonly image: string; readonly digest: string }
  | { readonly event: "booted"; readonly ms: number }
  | { readonly event: "restored"; readonly generation: number; readonly ms: number }
  | { readonly event: "refused"; readonly code: string; readonly message: string }
  | { readonly event: "listening"; readonly guestPort: number; readonly url: string }
  | { readonly event: "ready" }
  | { readonly event: "holds"; readonly count: number }
  | {
      readonly event: "used";
      readonly calls: Readonly<Record<string, number>>;
      readonly families: readonly number[];
      readonly files: readonly string[];
      readonly complete: boolean;
    }
  | { readonly event: "exited"; readonly exitCode?: number; readonly signal?: string };

/** What a freeze has written. */
export interface Frozen {
  /** Length of the file. */
  readonly bytes: number;
  /** Pages of guest memory in it. */
  readonly pages: number;
  /** How long the guest stood still, in microseconds. */
  readonly pauseUs: number;
  /** Generation of the snapshot. */
  readonly generation: number;
  /** Whether it is made on the base that was offered. */
  readonly onBase: boolean;
}

/** How to start one. */
export interface InstanceOptions {
  /** Where the program's output and the monitor's messages go. Default: this process's standard error. */
  readonly output?: "inherit" | "ignore" | number;
}

/** One monitor process. `await using` ends it. */
export class Instance implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #orders: string;
  readonly #listeners: Set<(event: MonitorEvent) => void> = new Set();
  /** Everything told so far. */
  readonly events: MonitorEvent[] = [];
  /** Exit status; 128 + n for signal n of the monitor itself. */
  readonly ended: Promise<number>;

  private constructor(child: ChildProcess, orders: string) {
    this.#child = child;
    this.#orders = orders;
    this.ended = once(child, "close").then(([code]) => (code as number | null) ?? 128);
    this.ended.catch(() => {});
    if (child.stdout) createInterface({ input: child.stdout }).on("line", (line) => this.#tell(line));
  }

  /** Starts a monitor; `orders` and `events` of the configuration are set here. */
  static start(monitor: string, config: LaunchConfig, options: InstanceOptions = {}): Instance {
    const name = `spore-${process.pid}-${Math.random().toString(36).slice(2)}.sock`;
    const orders = config.orders ?? join(process.env["XDG_RUNTIME_DIR"] || tmpdir(), name);
    const file = writeConfigFile({ ...config, events: "json", orders });
    const output = options.output ?? 2;
    const child = spawn(monitor, ["--config", file], { stdio: ["ignore", "pipe", output] });
    child.on("error", () => rmSync(file, { force: true }));
    return new Instance(child, orders);
  }

  /** Process id of the monitor. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The first event, told already or later, that fits; null if the monitor ends before. */
  async event<E extends MonitorEvent["event"]>(
    name: E,
    fits: (event: Extract<MonitorEvent, { event: E }>) => boolean = () => true,
  ): Promise<Extract<MonitorEvent, { event: E }> | null> {
    type Wanted = Extract<MonitorEvent, { event: E }>;
    const wanted = (event: MonitorEvent): event is Wanted => event.event === name && fits(event as Wanted);
    const known = this.events.find(wanted);
    if (known) return known;
    return await new Promise((resolve) => {
      const look = (event: MonitorEvent): void => {
        if (!wanted(event)) return;
        this.#listeners.delete(look);
        resolve(event);
      };
      this.#listeners.add(look);
      void this.ended.finally(() => resolve(null));
    });
  }

  /** Calls `listener` for every event from now on. */
  onEvent(listener: (event: MonitorEvent) => void): void {
    this.#listeners.add(listener);
  }

  /** Of a machine on trial: notes in the snapshot that it was made from what it has used so far. */
  async noteUse(snapshot: string): Promise<void> {
    await order(this.#orders, { noteUse: snapshot });
  }

  /** Takes a snapshot. */
  async freeze(path: string, options: FreezeOptions = {}): Promise<Frozen> {
    return freezeRunning(this.#orders, path, options);
  }

  /** Sends a signal to the program (through the monitor). */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended.catch(() => {});
    rmSync(this.#orders, { force: true });
  }

  #tell(line: string): void {
    let event: MonitorEvent;
    try {
      event = JSON.parse(line) as MonitorEvent;
    } catch {
      return;
    }
    this.events.push(event);
    for (const listener of [...this.#listeners]) listener(event);
  }
}

/** An app that waits for something outside has used by then what it uses. */
const TRIAL_MS = 3000;
/** What has not come to an end by then is ended. */
const TRIAL_END_MS = 10_000;

/**
 * Goes on once from the snapshot `config.restore`, on trial, and notes in the file what the
 * machine uses until `ask`, which is given the address of a listener, has its answer. The
 * machine reaches nothing outside, so that nobody there sees one request more.
 */
export async function tryOut(
  monitor: string,
  config: LaunchConfig,
  ask: (url: string) => Promise<unknown>,
  port?: number,
): Promise<void> {
  if (config.restore === null) return;
  const rights = { ...config.rights, destinations: [] };
  const trial = { ...config, rights, publish: null, anyPort: true, pool: null, trial: true };
  await using instance = Instance.start(monitor, trial, { output: "ignore" });
  const end = setTimeout(() => instance.signal("SIGKILL"), TRIAL_END_MS);
  try {
    const listening = await instance.event("listening", ({ guestPort }) => (port ?? guestPort) === guestPort);
    if (listening === null) throw answered(undefined);
    await Promise.race([ask(listening.url).catch(() => {}), delay(TRIAL_MS, undefined, { ref: false })]);
    await instance.noteUse(config.restore);
  } finally {
    clearTimeout(end);
  }
}

/** How a machine is frozen. */
export interface FreezeOptions {
  /** It ends afterwards. */
  readonly exit?: boolean;
  /** How long the program may take to get ready for it; the monitor knows a time otherwise. */
  readonly patienceMs?: number | undefined;
  /** Another snapshot in the same folder that it may be made on; both are needed then. */
  readonly base?: string | undefined;
}

/** Freezes the machine that takes orders at a socket. Throws what it answers as an error. */
export async function freezeRunning(
  orders: string,
  path: string,
  options: FreezeOptions = {},
): Promise<Frozen> {
  const { frozen } = await order(orders, { freeze: path, ...options });
  if (frozen === undefined) throw answered(undefined);
  return frozen;
}

/**
 * Puts the machine that takes orders at a socket to sleep: its memory goes to a file at `path`,
 * which is gone at once. Listeners and connections stay; whatever comes there wakes it.
 */
export async function sleepRunning(
  orders: string,
  path: string,
  options: Pick<FreezeOptions, "patienceMs"> = {},
): Promise<Frozen> {
  const { slept } = await order(orders, { sleep: path, ...options });
  if (slept === undefined) throw answered(undefined);
  return slept;
}

/** What a machine answers to an order. */
interface Answer {
  readonly frozen?: Frozen;
  readonly slept?: Frozen;
  readonly error?: { readonly code: string; readonly message: string };
}

async function order(orders: string, wish: object): Promise<Answer> {
  const socket = connect(orders);
  try {
    await once(socket, "connect");
    socket.write(`${JSON.stringify(wish)}\n`);
    for await (const line of createInterface({ input: socket })) {
      const answer = JSON.parse(line) as Answer;
      if (answer.error) throw answered(answer.error);
      return answer;
    }
    throw sporeError("SPORE_SNAPSHOT_FAILED", { problem: "the machine ended meanwhile" });
  } catch (cause) {
    if (cause instanceof SporeError) throw cause;
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw sporeError("SPORE_SNAPSHOT_FAILED", { problem }, { cause });
  } finally {
    socket.destroy();
  }
}

function answered(error: { readonly code: string; readonly message: string } | undefined): Error {
  const code = error !== undefined && error.code in registry ? (error.code as ErrorCode) : undefined;
  if (error === undefined || code === undefined) {
    return sporeError("SPORE_SNAPSHOT_FAILED", { problem: error?.message ?? "no answer" });
  }
  return new SporeError(code, error.message, { next: registry[code].next });
}
