/**
 * What the fleet asks of whatever brings instances to life: monitor.ts boots them
 * or restores a snapshot, test-driver.ts pretends to, for tests.
 */

import type { StartKind } from "@spore/api";
import type { Image } from "@spore/image";
import type { InternalGrant } from "../cloud/internal.ts";

/** Where an instance takes connections. */
export interface Endpoint {
  readonly guestPort: number;
  readonly host: string;
  readonly port: number;
}

/** What an instance is made of. */
export interface LaunchSpec {
  readonly id: string;
  readonly app: string;
  readonly release: number;
  readonly image: Image;
  readonly env: Readonly<Record<string, string>>;
  /** Variables that must be in no file. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly args: readonly string[] | null;
  readonly cwd: string | null;
  readonly memory: number | null;
  /** Port of the guest that gets the requests; null: the first that it listens on. */
  readonly port: number | null;
  /** What makes it ready: that it listens, or that it says so besides. */
  readonly ready: "listen" | "signal";
  /** Snapshot to go on from; null: boot. One that does not fit is told of, and the instance boots. */
  readonly snapshot: string | null;
  /** Destinations outside: CIDR ranges and names; null: as the image says. */
  readonly destinations: readonly string[] | null;
  /** How it reaches other apps by name; null: it does not. */
  readonly internal: InternalGrant | null;
  /** How long the program may take to stop. */
  readonly graceMs: number;
}

/** How an instance ended. */
export interface Ended {
  readonly kind: "exited" | "crashed" | "start-failed" | "lost";
  /** In words: "exit status 1", "SIGSEGV", or what the monitor said. */
  readonly outcome: string;
}

/** Told of what happens to an instance; `refused` comes first, `ended` once and last. */
export interface InstanceWatch {
  /** The snapshot cannot be used; the instance boots instead. */
  refused(why: string): void;
  /** It is ready, and listens there. */
  listening(endpoint: Endpoint): void;
  /** Nobody listens where `ahead` said, nor ever has; it comes to life elsewhere. */
  moved(): void;
  /** The program holds its machine awake, for so many reasons; 0: it may sleep. */
  holds(count: number): void;
  /** It slept, and goes on. */
  awake(): void;
  ended(how: Ended): void;
}

/** A running instance. */
export interface Handle {
  readonly pid: number;
  readonly ticks: string;
  /** Where connections may be made before it listens; they wait. Null: nowhere. */
  readonly ahead: Endpoint | null;
  /** Once it listens, how it came to do so. */
  readonly start: StartKind;
  /** Once it listens, parts of the time that it took, in milliseconds; those that are known. */
  readonly phases: Readonly<Record<string, number>>;
  /** What keeps it from being ready, in words. */
  readonly missing: string;
  /** Writes a snapshot of the instance, which runs on. `base`: another in the same folder that it may be made on. Rejects with a SporeError. */
  freeze(path: string, base: string | null): Promise<void>;
  /**
   * Puts the instance to sleep with its connections; whatever comes there wakes it. Rejects with a
   * SporeError: it is awake. Null: its memory must be in no file.
   */
  readonly sleep: (() => Promise<void>) | null;
  /**
   * Tells the watch of what has happened by now, before this returns, and from then on
   * of what happens. One that takes connections ahead tells of little before.
   */
  look(): void;
  /** Asks the program to stop; after its grace period it is stopped. */
  stop(): void;
  /** Ends it at once. */
  kill(): void;
}

/** What a daemon needs to find an instance of an earlier one. */
export interface Found {
  readonly id: string;
  readonly app: string;
  readonly port: number | null;
  readonly ready: "listen" | "signal";
  readonly pid: number | null;
  readonly ticks: string | null;
  /** It was to go on from a snapshot. */
  readonly restored: boolean;
}

/** Brings instances to life. They outlive the daemon. */
export interface InstanceDriver {
  /** Throws a SporeError if the instance cannot even be started. */
  launch(spec: LaunchSpec, watch: InstanceWatch): Handle;
  /** An instance of this kind may be wanted soon. */
  standBy(spec: LaunchSpec): void;
  /**
   * Notes in the snapshot what the first request uses after a restore, in a machine that
   * reaches nobody: `ask` gets where it listens. Rejects if that cannot be found out.
   */
  tryOut(spec: LaunchSpec, ask: (endpoint: Endpoint) => Promise<unknown>): Promise<void>;
  /** How many stand by. */
  readonly standing: number;
  /** Bytes of those that stand by for some apps. */
  standingBytes(belongs: (app: string) => boolean): number;
  /** None of the app are wanted any more, but for those that go on from one of these snapshots. */
  dismiss(app: string, kept: readonly string[]): void;
  /** An instance that an earlier daemon started, if it lives. */
  adopt(found: Found, watch: InstanceWatch): Handle | null;
  /** Removes what an instance that has ended left behind. */
  clean(id: string): void;
  /** Removes what is left of instances that are not among `known` (by id, with their processes), ends those that run. */
  sweep(known: ReadonlyMap<string, number | null>): void;
  /** Ends what was prepared; instances live on. */
  close(): void;
}
