/** A keeper of shells: machines of many snapshots that stand by, each woken with a line. */

import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";

/** How a machine that stands by is to go on. */
export interface Wish {
  /** Files that it makes: what the monitor tells, and what the program writes. */
  readonly files: { readonly events: string; readonly output: string };
  /** Unix socket on which the machine takes orders; null: on none. */
  readonly orders: string | null;
  readonly hostname: string;
  readonly instance: string;
}

/** When each step of a wake was done; CLOCK_MONOTONIC in ns. */
export interface WakeTimes {
  /** The machine was told. */
  readonly received: number;
  /** Its memory was as it must be. */
  readonly prepared: number;
  /** Its first instruction was due. */
  readonly resumed: number;
}

/** Told of a machine that was woken. */
export interface WakeWatch {
  /** It is about to run, and what it listens on is published. */
  woken(times: WakeTimes): void;
  /** It has ended; null: nobody knows how. */
  ended(status: number | null): void;
}

/** Told of shells. */
export interface KeeperWatch {
  standby(shell: Shell): void;
  /** A shell of this configuration did not come to stand by. */
  failed(config: string): void;
  /** One that stood by has ended before it was woken. */
  lost(shell: Shell): void;
  /** The keeper has ended, and with it what it was about to start. */
  closed(): void;
}

/** A port of a program, and where on the host it is reached. */
export interface Listening {
  readonly guestPort: number;
  readonly url: string;
}

/** One machine that stands by. */
export class Shell {
  /** Process id of its monitor. */
  readonly pid: number;
  /** Its ports: connections wait there until it is woken. */
  readonly listening: readonly Listening[];
  /** Launch configuration that it was started of. */
  readonly config: string;
  readonly #socket: Socket;
  #watch: WakeWatch | null = null;
  #status: number | null = null;

  constructor(pid: number, listening: readonly Listening[], config: string, socket: Socket) {
    this.pid = pid;
    this.listening = listening;
    this.config = config;
    this.#socket = socket;
  }

  /** Whether it can be woken. */
  get waits(): boolean {
    return this.#watch === null && !this.#socket.destroyed;
  }

  /** Has it go on; it lives on by itself from then on. */
  wake({ files, orders, hostname, instance }: Wish, watch: WakeWatch): void {
    this.#watch = watch;
    const wish = { files, hostname, instance, ...(orders !== null && { orders }) };
    this.#socket.write(`${JSON.stringify(wish)}\n`);
  }

  /** It is not needed. */
  dismiss(): void {
    this.#socket.destroy();
  }

  /** What it has said after it stood by. */
  said(line: string): void {
    const said = JSON.parse(line) as { readonly event?: string; readonly status?: number } & WakeTimes;
    if (said.event === "woken") this.#watch?.woken(said);
    else if (said.status !== undefined) this.#status = said.status;
  }

  /** Its connection has ended; whether it had been woken. */
  gone(): boolean {
    this.#watch?.ended(this.#status);
    return this.#watch !== null;
  }
}

/** The process that starts them. */
export class Keeper {
  readonly #child: ChildProcess;
  readonly #server: Server;
  readonly #watch: KeeperWatch;
  #closed = false;

  /** Shells connect to `socket`, which nobody but this user may reach. */
  constructor(monitor: string, socket: string, watch: KeeperWatch) {
    this.#watch = watch;
    rmSync(socket, { force: true });
    this.#server = createServer((connection) => this.#onConnection(connection));
    this.#server.on("error", () => this.close());
    this.#server.listen(socket);
    this.#child = spawn(monitor, ["--keep", socket], {
      // What was woken outlives this process, its terminal and its Ctrl-C.
      detached: true,
      stdio: ["pipe", "ignore", "inherit"],
      env: { PATH: process.env["PATH"] ?? "" },
      cwd: "/",
    });
    this.#child.on("error", () => this.close());
    this.#child.on("exit", () => this.close());
    this.#child.stdin?.on("error", () => {});
    this.#child.unref();
  }

  /** False: it has ended. */
  get open(): boolean {
    return !this.#closed;
  }

  /** Starts a shell of a launch configuration. */
  start(config: string): void {
    this.#order({ start: config });
  }

  /** No more shells of it will be started. */
  forget(config: string): void {
    this.#order({ forget: config });
  }

  /** Ends it; machines that were woken live on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#server.close();
    this.#child.stdin?.end();
    this.#watch.closed();
  }

  #order(order: object): void {
    if (!this.#closed) this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  #onConnection(connection: Socket): void {
    let rest = "";
    let config: string | null = null;
    let shell: Shell | null = null;
    const onLine = (line: string): void => {
      if (shell !== null) {
        shell.said(line);
        return;
      }
      const said = JSON.parse(line) as {
        readonly config?: string;
        readonly pid?: number;
        readonly listening?: readonly Listening[];
      };
      config ??= said.config ?? null;
      if (config === null || said.pid === undefined) return;
      shell = new Shell(said.pid, said.listening ?? [], config, connection);
      this.#watch.standby(shell);
    };
    connection.setEncoding("utf8");
    connection.on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) onLine(line);
    });
    connection.on("error", () => {});
    connection.on("close", () => {
      if (shell === null) {
        if (config !== null) this.#watch.failed(config);
      } else if (!shell.gone()) {
        this.#watch.lost(shell);
      }
    });
    connection.unref();
  }
}
