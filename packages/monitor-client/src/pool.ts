/** Pools of machines that stand by, and the activator that wakes them. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { runtimeFolder, writeConfigFile } from "./config-file.ts";
import type { LaunchConfig } from "./launch-config.ts";
import { sweepLeftovers } from "./leftovers.ts";

/** What a pool or an activator tells. */
export type StandbyEvent =
  /** One more machine stands by. */
  | { readonly event: "standby" }
  /** One was woken; another is on its way. */
  | { readonly event: "taken" }
  /** The activator holds a port. */
  | { readonly event: "asleep"; readonly guestPort?: number; readonly url?: string }
  /** Somebody has connected; times are CLOCK_MONOTONIC in ns. */
  | { readonly event: "waking"; readonly at: number }
  /** A machine is about to run; its monitor has this process id. */
  | {
      readonly event: "woken";
      readonly pid: number;
      /** When the machine was told. */
      readonly received: number;
      /** When its memory was as it must be. */
      readonly prepared: number;
      /** When its first instruction was due. */
      readonly resumed: number;
      /** Processor time of the thread that is to run the program, so far, ns. */
      readonly cpuBefore: number;
    }
  /** A forked machine listens. */
  | {
      readonly event: "listening";
      readonly guestPort: number;
      readonly url: string;
      readonly instance?: string;
    }
  /** A forked machine goes on. */
  | {
      readonly event: "restored";
      readonly generation: number;
      readonly ms: number;
      readonly instance?: string;
    }
  /** It has ended, with the exit status of the program. */
  | { readonly event?: undefined; readonly status: number };

/** A process that tells events, one a line. `await using` ends it. */
export class Standby implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #config: string;
  readonly #listeners: Set<(event: StandbyEvent) => void> = new Set();
  /** Everything told so far. */
  readonly events: StandbyEvent[] = [];
  /** Exit status. */
  readonly ended: Promise<number>;

  private constructor(monitor: string, words: (config: string) => readonly string[], config: LaunchConfig) {
    sweepLeftovers(runtimeFolder());
    this.#config = writeConfigFile({ ...config, deleteConfig: false });
    this.#child = spawn(monitor, words(this.#config), { stdio: ["ignore", "pipe", "inherit"] });
    this.ended = once(this.#child, "close").then(([code]) => (code as number | null) ?? 128);
    this.ended.catch(() => {});
    if (this.#child.stdout) {
      createInterface({ input: this.#child.stdout }).on("line", (line) => this.#tell(line));
    }
  }

  /** Keeps `count` machines of a snapshot (`config.restore`) standing by at `socket`. */
  static pool(monitor: string, config: LaunchConfig, count: number, socket: string): Standby {
    return new Standby(monitor, (file) => ["--pool", file, String(count), socket], config);
  }

  /**
   * Holds the ports that `config` publishes while nothing runs, and wakes a machine
   * when somebody connects: one of the pool at `socket`, or a new one.
   */
  static activator(monitor: string, config: LaunchConfig, socket: string | null): Standby {
    return new Standby(monitor, (file) => ["--activate", file, socket ?? "-"], config);
  }

  /** Starts `count` machines of a snapshot, which share its memory and end with this process. */
  static fork(monitor: string, config: LaunchConfig, count: number): Standby {
    return new Standby(monitor, (file) => ["--fork", file, String(count)], config);
  }

  /** Process id. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Calls `listener` for every event from now on. */
  onEvent(listener: (event: StandbyEvent) => void): void {
    this.#listeners.add(listener);
  }

  /** Waits until `done` is true of the events so far. */
  async until(done: (events: readonly StandbyEvent[]) => boolean): Promise<void> {
    if (done(this.events)) return;
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (!done(this.events)) return;
        this.#listeners.delete(look);
        resolve();
      };
      this.#listeners.add(look);
      void this.ended.then((status) => reject(new Error(`it ended with status ${status}`)));
    });
  }

  /** Sends a signal. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended.catch(() => {});
    rmSync(this.#config, { force: true });
    // Its socket; unless another pool of the same snapshot has taken that over.
    sweepLeftovers(runtimeFolder());
  }

  #tell(line: string): void {
    let event: StandbyEvent;
    try {
      event = JSON.parse(line) as StandbyEvent;
    } catch {
      return;
    }
    this.events.push(event);
    for (const listener of [...this.#listeners]) listener(event);
  }
}

/** Where the pool of a snapshot is looked for; another file, or a newer one, has another. */
export function poolSocket(
  snapshot: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const { dev, ino, mtimeMs } = statSync(snapshot);
  const name = `spore-shells-${process.getuid?.() ?? 0}-${[dev, ino, Math.round(mtimeMs)].map((n) => n.toString(36)).join("-")}`;
  return join(runtimeFolder(env), `${name}.sock`);
}

/** The pool of a snapshot, if it is there and belongs to this user. */
export function findPool(
  snapshot: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string | null {
  const path = poolSocket(snapshot, env);
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat?.isSocket() && stat.uid === process.getuid?.() ? path : null;
}
