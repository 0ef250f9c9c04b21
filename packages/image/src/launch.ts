/** From an image and the options of one run to what the monitor boots. */

import type { Image, LaunchFile, Publish, RunOptions } from "./types.ts";

/**
 * The part of the monitor's launch config that follows from image and run
 * options; addresses are hex strings. The caller adds stdio, events, policy,
 * tracing and debugging.
 */
export interface LaunchPlan {
  readonly version: 1;
  readonly memory: number;
  readonly kernel: {
    readonly path: string;
    readonly offset: number;
    readonly length: number;
    readonly memoryLength: number;
  };
  readonly layers: readonly {
    readonly path: string;
    readonly offset: number;
    readonly length: number;
    readonly gpa: string;
  }[];
  readonly shared: readonly {
    readonly va: string;
    readonly layer: number;
    readonly offset: number;
    readonly length: number;
  }[];
  readonly private: readonly {
    readonly va: string;
    readonly gpa: string;
    readonly length: number;
    readonly parts: readonly {
      readonly layer: number;
      readonly offset: number;
      readonly length: number;
      readonly at: number;
    }[];
  }[];
  readonly program: {
    readonly path: string;
    readonly startRip: string;
    readonly entry: string;
    readonly phdr: string;
    readonly phnum: number;
    readonly interpBase: string;
    readonly brkStart: string;
    readonly vmas: readonly {
      readonly start: string;
      readonly end: string;
      readonly prot: number;
      readonly fileOffset: number;
      readonly path: string;
    }[];
  };
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly hostname: string;
  readonly files: readonly LaunchFile[];
  readonly publish: readonly Publish[] | null;
}

/** Combines an image with the options of one run. Reads /etc/resolv.conf of the host. */
export function launchPlan(_image: Image, _options: RunOptions = {}): LaunchPlan {
  throw new Error("not built yet");
}
