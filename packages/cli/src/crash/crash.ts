/**
 * A crash as the monitor describes it. Everything in it was said by the guest,
 * so nothing is believed: shapes are checked here, texts are cleaned when printed.
 */

import * as z from "zod";

const address = z
  .string()
  .regex(/^0x[0-9a-f]{1,16}$/)
  .transform((text) => BigInt(text));

const kernel = z.object({ path: z.string(), start: address, end: address });

const schema = z.object({
  signal: z.int(),
  code: z.int(),
  address,
  rip: address,
  registers: z.record(z.string(), z.string()).default({}),
  tid: z.int(),
  calls: z.array(
    z.object({
      number: z.number(),
      args: z.array(address),
      result: z.number(),
      tid: z.int(),
      unfinished: z.boolean(),
    }),
  ),
  modules: z.array(
    z.object({ start: address, end: address, fileOffset: z.number().nonnegative(), path: z.string() }),
  ),
  stack: z.array(address),
  layers: z.array(
    z.object({ path: z.string(), offset: z.int().nonnegative().default(0), length: z.int().nonnegative() }),
  ),
  program: z.string(),
  kernel: kernel.optional(),
});

const stop = z.object({ problem: z.string(), rip: address, stack: z.array(address), kernel });

/** The library OS in memory. */
export interface KernelPlace {
  /** The file that the monitor loaded. */
  readonly path: string;
  readonly start: bigint;
  readonly end: bigint;
}

/** A stop of the library OS itself. */
export interface KernelStop {
  readonly problem: string;
  readonly rip: bigint;
  /** Words on its stack that may be return addresses, innermost first. */
  readonly stack: readonly bigint[];
  readonly kernel: KernelPlace;
}

/** One system call before the crash. */
export interface Call {
  readonly number: number;
  readonly args: readonly bigint[];
  /** Result or negated errno. */
  readonly result: number;
  readonly tid: number;
  readonly unfinished: boolean;
}

/** One executable mapping of a file. */
export interface Module {
  readonly start: bigint;
  readonly end: bigint;
  readonly fileOffset: number;
  readonly path: string;
}

/** Where an image layer is on the host. */
export interface Layer {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** What is known about a crash. */
export interface Crash {
  readonly signal: number;
  /** si_code. */
  readonly code: number;
  /** si_addr. */
  readonly address: bigint;
  readonly rip: bigint;
  readonly registers: Readonly<Record<string, string>>;
  readonly tid: number;
  /** Newest last. */
  readonly calls: readonly Call[];
  readonly modules: readonly Module[];
  /** Return addresses, innermost first. */
  readonly stack: readonly bigint[];
  readonly layers: readonly Layer[];
  /** Path of the program in the guest. */
  readonly program: string;
  readonly kernel?: KernelPlace | undefined;
}

/** Reads the description. Throws what JSON.parse or the schema say. */
export function parseCrash(text: string): Crash {
  return schema.parse(JSON.parse(text));
}

/** Reads what the monitor says of either. */
export function parseReport(text: string): Crash | KernelStop {
  return z.union([schema, stop]).parse(JSON.parse(text));
}
