/** Processes of a test: what they say, when they end, and that none outlives its test. */

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";

/** How a process ended, and all that it said. */
export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  /** Exit status; 128 + n where signal n ended it, as a shell says it. */
  readonly status: number;
}

/** What can be chosen beside the command. */
export interface StartOptions {
  /** Added to the environment; undefined takes away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** What is written to standard input, which is then closed. Default: nothing. */
  readonly input?: string | Uint8Array;
  /** Leaves standard input open. */
  readonly openInput?: boolean;
  /** After so many milliseconds it counts as hanging: it is killed, and `ended` fails. Default: 60,000. */
  readonly deadline?: number;
}

/** A process that runs. `await using` stops it when the block ends. */
export interface Running extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
  /** What it has said so far. */
  readonly said: { readonly stdout: string; readonly stderr: string };
  /** Waits until a stream matches; fails if the process ends before. */
  says(stream: "stdout" | "stderr", what: RegExp): Promise<RegExpExecArray>;
  signal(name: NodeJS.Signals): void;
}

const SIGNALS: Readonly<Partial<Record<NodeJS.Signals, number>>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGTERM: 15,
};

/** Starts a command. */
export function start(command: string, args: readonly string[], options: StartOptions = {}): Running {
  const env = { ...process.env, ...options.env };
  const cwd = options.cwd ?? process.cwd();
  const child = spawn(command, args, { env, cwd, stdio: "pipe" });
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (text: string) => {
      said[stream] += text;
    });
  }
  // A program that does not read all of its input ends the pipe.
  child.stdin.on("error", () => {});
  if (!options.openInput) child.stdin.end(options.input ?? "");
  const name = [command, ...args].join(" ");
  const ended = end(child, said, name, options.deadline ?? 60_000);
  // Whoever waits for it gets the failure; nobody has to.
  ended.catch(() => {});
  return {
    pid: child.pid ?? 0,
    child,
    ended,
    said,
    says: (stream, what) => says(child, said, stream, what, name),
    signal: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended.catch(() => {});
    },
  };
}

/** Runs a command to its end. */
export async function run(
  command: string,
  args: readonly string[],
  options: StartOptions = {},
): Promise<Ended> {
  await using running = start(command, args, options);
  return await running.ended;
}

function end(
  child: ChildProcessWithoutNullStreams,
  said: { readonly stdout: string; readonly stderr: string },
  name: string,
  deadline: number,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    let hangs = false;
    const timer = setTimeout(() => {
      hangs = true;
      child.kill("SIGKILL");
    }, deadline);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (hangs) reject(new Error(`${name} did not end in ${deadline} ms; ${JSON.stringify(said)}`));
      else resolve({ ...said, status: code ?? 128 + ((signal && SIGNALS[signal]) || 0) });
    });
  });
}

function says(
  child: ChildProcessWithoutNullStreams,
  said: { readonly stdout: string; readonly stderr: string },
  stream: "stdout" | "stderr",
  what: RegExp,
  name: string,
): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      const match = what.exec(said[stream]);
      if (match === null) return;
      child[stream].off("data", look);
      resolve(match);
    };
    child[stream].on("data", look);
    child.on("close", () => {
      look();
      reject(new Error(`${name} ended without saying ${what}; ${JSON.stringify(said)}`));
    });
    look();
  });
}
