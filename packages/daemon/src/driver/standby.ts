/**
 * Machines that stand by: which snapshots are worth one. Each that was used lately
 * has one, as long as there is room; it is replaced after it was woken, one at a
 * time and behind what somebody waits for.
 */

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Keeper, type Shell } from "@spore/monitor-client";
import { startTicks } from "./process.ts";

/** How many machines may stand by, and how much memory they may take. */
export interface StandbyLimits {
  readonly count: number;
  readonly bytes: number;
  /** Whether a machine of an app may take so many bytes now, beside what its tenant has. */
  readonly admits: (app: string, bytes: number) => boolean;
}

/** A machine takes so much beside the pages of its snapshot. */
const OVERHEAD_BYTES = 12 << 20;
/** Whoever was woken serves its first requests before a processor is taken for the next. */
const REFILL_MS = 30;
/** What nobody has used for so long stands by no longer. */
const KEPT_MS = 600_000;
const SWEEP_MS = 30_000;
/** Snapshots of which the last use is remembered. */
const REMEMBERED = 5000;

/** What a machine is made of. */
export interface StandbyPlan {
  readonly app: string;
  readonly snapshot: string;
  /** What tells it from others; the same key is the same machine. */
  readonly key: string;
  /** Bytes of memory that its snapshot fills. */
  readonly bytes: () => number;
  /** The launch configuration. */
  readonly config: () => object;
}

/** A machine that stands by, and the start time of its process. */
export interface Standing {
  readonly shell: Shell;
  readonly ticks: string;
}

/** A snapshot for which there is a machine, or will be. */
interface Place {
  readonly app: string;
  readonly snapshot: string;
  readonly key: string;
  readonly file: string;
  readonly bytes: number;
  used: number;
  standing: Standing | null;
}

/** Keeps them. */
export class Standbys {
  readonly #folder: string;
  readonly #monitor: string;
  readonly #limits: StandbyLimits;
  readonly #places = new Map<string, Place>();
  /** When each was last used. */
  readonly #uses = new Map<string, number>();
  readonly #wanted: Place[] = [];
  #preparing: Place | null = null;
  #keeper: Keeper | null = null;
  #soon: NodeJS.Timeout | null = null;
  #sweeper: NodeJS.Timeout | null = null;
  #files = 0;
  #closed = false;

  /** `folder` exists, is nobody else's, and holds nothing that is needed. */
  constructor(folder: string, monitor: string, limits: StandbyLimits) {
    this.#folder = folder;
    this.#monitor = monitor;
    this.#limits = limits;
  }

  /** How many stand by. */
  get standing(): number {
    let count = 0;
    for (const { standing } of this.#places.values()) if (standing?.shell.waits) count += 1;
    return count;
  }

  /** Bytes of those that stand by, or are about to, for some apps. */
  bytesOf(belongs: (app: string) => boolean): number {
    let bytes = 0;
    for (const place of this.#places.values()) {
      if ((place.standing?.shell.waits || place === this.#preparing) && belongs(place.app))
        bytes += place.bytes;
    }
    return bytes;
  }

  /** The machine of a snapshot, if it stands by; it is the caller's from now on. */
  take(key: string): Standing | null {
    const place = this.#places.get(key);
    const standing = place?.standing ?? null;
    if (place === undefined || standing === null || !standing.shell.waits) return null;
    place.standing = null;
    return standing;
  }

  /** A snapshot is used: another machine of it may be wanted soon. */
  use(plan: StandbyPlan): void {
    const now = performance.now();
    const before = this.#uses.get(plan.key);
    this.#remember(plan.key, now);
    const known = this.#places.get(plan.key);
    if (known !== undefined) {
      known.used = now;
      this.#want(known);
      return;
    }
    const bytes = plan.bytes() + OVERHEAD_BYTES;
    if (this.#closed || !this.#makeRoom(bytes, now - (before ?? now))) return;
    this.#files += 1;
    const file = join(this.#folder, `${this.#files}.json`);
    const { app, snapshot, key } = plan;
    const place: Place = { app, snapshot, key, file, bytes, used: now, standing: null };
    writeFileSync(file, JSON.stringify({ ...plan.config(), deleteConfig: false }), { mode: 0o600 });
    this.#places.set(key, place);
    this.#want(place);
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** An instance has ended: what did not fit in beside it may now. */
  onRoom(): void {
    for (const place of this.#places.values()) this.#want(place);
  }

  /** No machine of an app is needed, but for those of some snapshots. */
  dismiss(app: string, kept: readonly string[]): void {
    for (const place of this.#places.values()) {
      if (place.app === app && !kept.includes(place.snapshot)) this.#remove(place);
    }
  }

  close(): void {
    this.#closed = true;
    for (const place of this.#places.values()) this.#remove(place);
  }

  #remember(key: string, now: number): void {
    this.#uses.delete(key);
    this.#uses.set(key, now);
    const oldest = this.#uses.size > REMEMBERED ? this.#uses.keys().next().value : undefined;
    if (oldest !== undefined) this.#uses.delete(oldest);
  }

  /** What has waited for longer than the other was away makes room for it. */
  #makeRoom(bytes: number, away: number): boolean {
    const { count, bytes: most } = this.#limits;
    const now = performance.now();
    for (;;) {
      const places = [...this.#places.values()];
      const taken = places.reduce((sum, place) => sum + place.bytes, 0);
      if (places.length < count && taken + bytes <= most) return true;
      const oldest = places.sort((a, b) => a.used - b.used)[0];
      if (oldest === undefined || now - oldest.used <= away) return false;
      this.#remove(oldest);
    }
  }

  #want(place: Place): void {
    if (place.standing?.shell.waits || this.#preparing === place || this.#wanted.includes(place)) return;
    this.#wanted.push(place);
    this.#later();
  }

  #later(): void {
    if (this.#wanted.length === 0 || this.#preparing !== null) return;
    this.#soon ??= setTimeout(() => {
      this.#soon = null;
      this.#prepare();
    }, REFILL_MS).unref();
  }

  #prepare(): void {
    let place = this.#wanted.shift();
    // What does not fit in now is wanted again when something ends.
    while (place !== undefined && !this.#limits.admits(place.app, place.bytes)) place = this.#wanted.shift();
    if (place === undefined) return;
    if (this.#keeper?.open !== true) {
      this.#keeper = new Keeper(this.#monitor, join(this.#folder, "socket"), {
        standby: (shell) => this.#onStandby(shell),
        failed: (config) => this.#onFailed(config),
        lost: (shell) => this.#onLost(shell),
        closed: () => {
          this.#preparing = null;
        },
      });
    }
    this.#preparing = place;
    this.#keeper.start(place.file);
  }

  #onStandby(shell: Shell): void {
    const place = this.#of(shell.config);
    if (place === undefined || place.standing?.shell.waits) shell.dismiss();
    else place.standing = { shell, ticks: startTicks(shell.pid) ?? "" };
    this.#prepared(shell.config);
  }

  /** What does not come to stand by is not tried again before it is used again. */
  #onFailed(config: string): void {
    const place = this.#of(config);
    if (place !== undefined) this.#remove(place);
    this.#prepared(config);
  }

  /** Neither is what has ended, unless it was used again meanwhile and another is wanted. */
  #onLost(shell: Shell): void {
    const place = this.#of(shell.config);
    if (place === undefined || place.standing?.shell !== shell) return;
    place.standing = null;
    if (this.#preparing !== place && !this.#wanted.includes(place)) this.#remove(place);
  }

  #prepared(config: string): void {
    if (this.#preparing?.file === config) this.#preparing = null;
    this.#later();
  }

  #of(config: string): Place | undefined {
    for (const place of this.#places.values()) if (place.file === config) return place;
    return undefined;
  }

  #remove(place: Place): void {
    this.#places.delete(place.key);
    const index = this.#wanted.indexOf(place);
    if (index >= 0) this.#wanted.splice(index, 1);
    place.standing?.shell.dismiss();
    this.#keeper?.forget(place.file);
    rmSync(place.file, { force: true });
    if (this.#places.size > 0) return;
    // Nobody stands by: the shared copies of layers go with their keeper.
    this.#keeper?.close();
    this.#keeper = null;
    this.#preparing = null;
    if (this.#sweeper !== null) clearInterval(this.#sweeper);
    this.#sweeper = null;
  }

  #sweep(): void {
    const now = performance.now();
    for (const place of this.#places.values()) {
      if (now - place.used > KEPT_MS || !this.#limits.admits(place.app, 0)) this.#remove(place);
    }
  }
}
