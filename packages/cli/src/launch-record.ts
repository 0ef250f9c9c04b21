/**
 * Leaves a launch record: the finished launch configuration of a run and all
 * that it was made from. `spore-monitor --launch` (monitor/src/launch) reads it
 * and, if nothing has changed, starts the next run of the same command without
 * Node.js. docs/internals/launch.md has the whole story.
 *
 * Whatever a run looks at must be noted before it is read, and what cannot be
 * noted must be called untraceable: a record too few costs time, one too many
 * would run the wrong thing.
 */

import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isatty } from "node:tty";
import { type BuildResult, buildInputs, fingerprint } from "@spore/image";
import type { LaunchConfig } from "@spore/monitor-client";
import type { Context } from "./command.ts";

/** The variable with which the native launcher asks for a record: `STAMP:PATH`. */
export const requestVariable = "SPORE_LAUNCH_RECORD";

/** Version of the file; monitor/src/launch/record.rs reads this one. */
const VERSION = 1;
const HOUR_MS = 3_600_000;
/** A command that was not changed and not run the long way for so long is forgotten. */
const KEPT_MS: number = 30 * 24 * HOUR_MS;

/** What settings and configuration files are read through. */
export interface Watch {
  /** This path is about to be looked at, whether it is there or not. */
  readonly path: (path: string) => void;
  /** This variable was read. */
  readonly variable: (name: string) => void;
  /** Something was used that no record can describe. */
  readonly untraceable: () => void;
}

/** Collects what one run depends on. */
export class LaunchRecord implements Watch {
  readonly #file: string;
  /** Nanoseconds since 1970: what is newer may have been missed. */
  readonly #stamp: bigint;
  readonly #context: Context;
  readonly #inputs: Map<string, string> = new Map();
  readonly #variables: Set<string> = new Set();
  #traceable = true;

  constructor(request: string, context: Context) {
    const [stamp = "", ...path] = request.split(":");
    this.#file = path.join(":");
    this.#stamp = /^\d+$/.test(stamp) ? BigInt(stamp) : 0n;
    this.#context = context;
    if (this.#stamp === 0n || this.#file === "") this.untraceable();
  }

  path(path: string): void {
    try {
      if (!this.#inputs.has(path)) this.#inputs.set(path, fingerprint(path));
      const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
      // Written since the launcher looked: perhaps while it is read.
      if (stat && !stat.isDirectory() && stat.mtimeNs >= this.#stamp) this.untraceable();
    } catch {
      this.untraceable();
    }
  }

  variable(name: string): void {
    this.#variables.add(name);
  }

  untraceable(): void {
    this.#traceable = false;
  }

  /** Writes the record, if everything can be described. A run does not fail for want of one. */
  keep(
    words: readonly string[],
    root: string,
    config: LaunchConfig,
    built: Pick<BuildResult, "image" | "record">,
  ): void {
    const builder = buildInputs(built);
    if (!this.#traceable || builder === null) return;
    try {
      const { kernel, layers, path } = built.image;
      for (const file of new Set([path, kernel.path, ...layers.map((layer) => layer.path)])) {
        // Just written, it may be, but by its digest it can only be what it is.
        this.#inputs.set(file, fingerprint(file));
      }
      const facts = {
        root,
        words,
        directory: this.#context.cwd,
        terminal: isatty(0),
        environment: this.#environment(),
        stamp: String(this.#stamp),
        inputs: [...new Map([...builder, ...this.#inputs])],
      };
      this.#write(`${JSON.stringify(facts)}\n${JSON.stringify(asRepeated(config))}\n`);
    } catch (thrown) {
      if (this.#context.env["SPORE_DEBUG"]) this.#context.err(`debug: no launch record: ${String(thrown)}\n`);
    }
  }

  /** Every variable of ours counts, and those that were read; null: not set. */
  #environment(): Record<string, string | null> {
    const { env } = this.#context;
    const ours = Object.keys(env).filter((name) => name.startsWith("SPORE_") && name !== requestVariable);
    const names = new Set([...ours, ...this.#variables, "NODE_OPTIONS"]);
    if (isatty(0)) names.add("TERM");
    return Object.fromEntries([...names].map((name) => [name, env[name] ?? null]));
  }

  #write(text: string): void {
    const folder = dirname(this.#file);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    forgetOld(folder);
    const temporary = `${this.#file}.${process.pid}.tmp`;
    const first = `spore-launch ${VERSION} ${crc32(Buffer.from(text)).toString(16).padStart(8, "0")}\n`;
    try {
      writeFileSync(temporary, first + text, { mode: 0o600, flag: "wx" });
      renameSync(temporary, this.#file);
    } finally {
      rmSync(temporary, { force: true });
    }
  }
}

/** The record that was asked for, if one was; whoever is started from here is not asked again. */
export function requestedRecord(context: Context): LaunchRecord | null {
  const request = context.env[requestVariable];
  delete process.env[requestVariable];
  return request ? new LaunchRecord(request, context) : null;
}

/** What the next run of the command is told: the image is there, and the record stays. */
function asRepeated(config: LaunchConfig): LaunchConfig {
  const built = config.built && { ...config.built, reused: true, ms: 0 };
  return { ...config, built, deleteConfig: false };
}

/** Removes records that were not renewed for a month, and what an interrupted run left. */
function forgetOld(folder: string): void {
  const now = Date.now();
  for (const name of readdirSync(folder)) {
    const path = join(folder, basename(name));
    const age = now - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? now);
    if (age > (name.endsWith(".tmp") ? HOUR_MS : KEPT_MS)) rmSync(path, { force: true });
  }
}

/** The CRC-32 of zlib (ISO 3309); node:zlib would take longer to load than this takes to run. */
export function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 255] ?? 0);
  return ~crc >>> 0;
}

const table: readonly number[] = Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (0xedb88320 & -(value & 1));
  return value;
});
