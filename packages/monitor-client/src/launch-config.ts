/**
 * The launch configuration: everything the monitor is told, in one JSON file.
 * `monitor/src/config.rs` reads it. Numbers are JSON numbers, addresses are
 * hexadecimal strings ("0x400000").
 */

import type { JsonObject } from "./json.ts";

/** A hexadecimal address. */
export type Address = string;

/** How the monitor tells what happens. `json`: on standard output, and the program's output moves to standard error. */
export type EventStyle = "human" | "json" | "quiet";

/** What the image and the options of one run decide; `launchPlan` of @spore/image makes it. */
export interface GuestConfig {
  readonly version: 1;
  /** Bytes, a multiple of 2 MiB. */
  readonly memory: number;
  readonly kernel: {
    readonly path: string;
    readonly offset: number;
    readonly length: number;
    /** Bytes in memory, bss included. */
    readonly memoryLength: number;
  };
  /** EROFS images, bottom first. */
  readonly layers: readonly {
    readonly path: string;
    readonly offset: number;
    readonly length: number;
    readonly gpa: Address;
  }[];
  /** 2 MiB frames mapped read-only straight from a layer. */
  readonly shared: readonly {
    readonly va: Address;
    readonly layer: number;
    readonly offset: number;
    readonly length: number;
  }[];
  /** 2 MiB frames of memory and what is copied into them. */
  readonly private: readonly {
    readonly va: Address;
    readonly gpa: Address;
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
    readonly startRip: Address;
    readonly entry: Address;
    readonly phdr: Address;
    readonly phnum: number;
    readonly interpBase: Address;
    readonly brkStart: Address;
    readonly vmas: readonly {
      readonly start: Address;
      readonly end: Address;
      readonly prot: number;
      readonly fileOffset: number;
      readonly path: string;
    }[];
  };
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly hostname: string;
  readonly files: readonly { readonly path: string; readonly mode: number; readonly data: string }[];
  /** null: every port that the guest serves, at the same port of 127.0.0.1. */
  readonly publish:
    | readonly {
        readonly address: string;
        readonly host: number;
        readonly guest: number;
        readonly protocol?: "udp" | undefined;
      }[]
    | null;
  /** What the image declares; the monitor refuses everything else. */
  readonly rights: GuestRights;
  readonly user: { readonly uid: number; readonly gid: number };
  /** Number of the signal that the program gets for a SIGTERM. */
  readonly stopSignal: number;
}

/** What of the host a guest may use. */
export interface GuestRights {
  readonly console: boolean;
  readonly network: boolean;
  /** Ports that may be published; null: all. */
  readonly ports: readonly number[] | null;
  /** Where it may connect to; null: everywhere. */
  readonly destinations: readonly string[] | null;
  /** Name servers that the guest is told of. */
  readonly resolvers: readonly string[];
}

/** What the first event says; the monitor passes it on in `json` style. */
export interface BuiltEvent {
  readonly event: "built";
  readonly image: string;
  readonly digest: string;
  readonly reused: boolean;
  readonly ms: number;
}

/** How one run is watched and stopped. */
export interface RunConfig {
  readonly events: EventStyle;
  readonly built: BuiltEvent | null;
  /** Print system calls to standard error. */
  readonly trace: boolean;
  /** Count what the program uses, and tell it at the end. */
  readonly record?: boolean;
  /** Port of 127.0.0.1 for gdb. */
  readonly gdb: number | null;
  /** Command that explains a crash, described as JSON on its standard input. */
  readonly reporter: readonly string[] | null;
}

/** What a snapshot of a run says about itself. */
export interface SnapshotIdentity {
  /** Digest of the image. */
  readonly image: string;
  /** SHA-256 of the library OS. */
  readonly kernel: string;
  /** How to start it again; the monitor passes it on as it is. */
  readonly about: JsonObject;
}

/** The part that has to do with snapshots. */
export interface SnapshotConfig {
  readonly snapshot: SnapshotIdentity | null;
  /** Go on from this snapshot instead of booting. */
  readonly restore: string | null;
  /** Watch which pages the machine uses, for `Instance.noteUse`. */
  readonly trial: boolean;
  /** Environment that a restored program is told of, KEY=VALUE. */
  readonly restoredEnv: readonly string[];
  /** Name of the machine. */
  readonly instance: string;
  /** With `publish` null: each listener gets a free port instead of its own. */
  readonly anyPort: boolean;
  /** Unix socket at which machines of `restore` stand by; null: none are looked for. */
  readonly pool: string | null;
  /** Unix socket on which the run takes orders. */
  readonly orders: string | null;
}

/** The whole file. */
export interface LaunchConfig extends GuestConfig, RunConfig, SnapshotConfig {
  /** The monitor removes the file once it has read it. */
  readonly deleteConfig: boolean;
  readonly policy: { readonly denyLinkLocal: boolean; readonly denyMetadata: boolean };
  /** How long a program may take to stop after SIGTERM or Ctrl-C. */
  readonly graceMs: number;
  /** Processors to use; null: those that this process may use. */
  readonly cpus: readonly number[] | null;
}

/** What holds for a run that has nothing to do with snapshots. */
const NO_SNAPSHOT: SnapshotConfig = {
  snapshot: null,
  restore: null,
  trial: false,
  restoredEnv: [],
  instance: "",
  anyPort: false,
  pool: null,
  orders: null,
};

/** Adds what holds for every run: the outgoing policy and the time to stop. */
export function launchConfig(
  guest: GuestConfig,
  run: RunConfig,
  snapshot: Partial<SnapshotConfig> = {},
): LaunchConfig {
  return {
    ...guest,
    ...run,
    ...NO_SNAPSHOT,
    ...snapshot,
    deleteConfig: true,
    policy: { denyLinkLocal: true, denyMetadata: true },
    graceMs: 10_000,
    cpus: null,
  };
}
