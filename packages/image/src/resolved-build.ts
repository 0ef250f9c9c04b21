/** A build with nothing left open, and the defaults that go into its image. */

import { basename } from "node:path";
import type { PiecesMode } from "@spore/needs";
import type { Store } from "./store.ts";
import type { BuildOptions, ImageDefaults, ImageManifest } from "./types.ts";

/** Memory of a guest unless something else is said: KVM prepares tables for all of it, 0.4 ms a GiB. */
const PROGRAM_MEMORY: number = 512 * 1024 ** 2;
/**
 * A project gets more: only what is touched costs, and there is room for what takes a lot for a moment
 * natively (PGlite starts with 1 GiB).
 */
export const PROJECT_MEMORY: number = 2 * 1024 ** 3;

/** Options with nothing left open: what a build depends on, besides the files it reads. */
export interface ResolvedBuild {
  readonly options: BuildOptions;
  /** Absolute path of the target. */
  readonly target: string;
  readonly kernel: string;
  readonly patch: boolean;
  readonly store: Store;
}

/** How the pieces of the library OS are chosen. */
export function modeOf({ pieces, recording }: BuildOptions): PiecesMode {
  return recording ? "recorded" : (pieces ?? "derived");
}

/** What the caller decides for an image of any kind, and what holds if nothing was said. */
export function policyOf(
  options: BuildOptions,
): Pick<ImageManifest, "version" | "user" | "vcpus" | "stopSignal" | "health" | "rights"> {
  const { devices, ports, destinations } = options.rights ?? {};
  return {
    version: 1,
    user: options.user ?? { uid: 0, gid: 0 },
    vcpus: 1,
    stopSignal: options.stopSignal ?? "SIGTERM",
    health: options.health ?? null,
    rights: {
      devices: devices ?? ["console", "network"],
      ports: ports ?? null,
      destinations: destinations ?? null,
      volumes: [],
    },
  };
}

/** The image's defaults: what the caller asked for over what the target brings. */
export function defaultsOf(
  options: BuildOptions,
  own: {
    readonly argv: readonly string[];
    readonly cwd: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly memory?: number;
  },
): ImageDefaults {
  return {
    argv: own.argv,
    args: options.args ?? [],
    env: { ...own.env, ...options.env },
    cwd: options.cwd ?? own.cwd,
    memory: options.memory ?? own.memory ?? PROGRAM_MEMORY,
    publish: options.publish ?? null,
  };
}

/** Name of a target for people. */
export function nameOf(target: string): string {
  return basename(target);
}
