/** One instance, as the daemon that runs it knows it. */

import type { InstanceReason, InstanceState, StartKind } from "@spore/api";
import type { Started } from "@spore/gateway";
import type { Endpoint, Handle } from "../driver/types.ts";
import type { InstanceRecord } from "../store/types.ts";

/** How long what nobody waits for is put off: the answer to whoever woke it comes first. */
const LATER_MS = 20;

/** An instance and what it is doing. */
export class Member {
  readonly id: string;
  readonly app: string;
  readonly release: number;
  readonly createdAt: number = Date.now();
  /** By performance.now(). */
  readonly begun: number = performance.now();
  state: InstanceState = "starting";
  reason: InstanceReason;
  start: StartKind = "cold";
  handle: Handle | null = null;
  endpoint: Endpoint | null = null;
  inFlight = 0;
  /** Bytes that its guest may have. */
  memory = 0;
  /** Open connections that do not keep it awake. */
  resting = 0;
  /** It was put to sleep with them, and has not been heard of since. */
  asleep = false;
  /** Requests that went unanswered since it answered one. */
  unanswered = 0;
  /** Reasons of the program's own to stay awake. */
  holds = 0;
  readyAt: number | null = null;
  /** Milliseconds from its start to ready. */
  wakeMs = 0;
  stoppedAt: number | null = null;
  outcome: string | null = null;
  /** Puts it to sleep, or ends what takes too long. */
  timer: NodeJS.Timeout | null = null;
  /** Called once when it is ready, or when it has stopped before. */
  readonly settled: (() => void)[] = [];
  /** Settles when it runs, or will not, if it takes connections ahead of that; null: it does not. */
  started: Promise<Started> | null = null;
  #tellStarted: (how: Started) => void = () => {};
  /** Work that nobody waits for. */
  readonly #later: (() => void)[] = [];
  #catchUp: NodeJS.Timeout | null = null;

  constructor(id: string, app: string, release: number, reason: InstanceReason) {
    this.id = id;
    this.app = app;
    this.release = release;
    this.reason = reason;
  }

  /** Connections may be made to it, and wait until it runs. */
  takesAhead(endpoint: Endpoint): void {
    this.endpoint = endpoint;
    const { promise, resolve } = Promise.withResolvers<Started>();
    this.started = promise;
    this.#tellStarted = resolve;
  }

  /** It runs, or what was sent to it so far has reached nobody. */
  nowStarted(how: Started): void {
    this.#tellStarted(how);
    this.started = null;
  }

  /** By performance.now(); of one that starts, that of its beginning. */
  get runsSince(): number {
    return this.begun + this.wakeMs;
  }

  /** Whether requests may be sent to it. */
  get takes(): boolean {
    return this.state === "ready" || (this.state === "starting" && this.started !== null);
  }

  /** Has work done a moment later, in this order. */
  later(work: () => void): void {
    this.#later.push(work);
    this.#catchUp ??= setTimeout(() => this.catchUp(), LATER_MS);
  }

  /** Does it now. */
  catchUp(): void {
    if (this.#catchUp === null) return;
    clearTimeout(this.#catchUp);
    this.#catchUp = null;
    for (const work of this.#later.splice(0)) work();
  }

  /** Nothing speaks against its end. */
  get idle(): boolean {
    return this.inFlight === 0 && this.holds === 0;
  }

  /** Why it was never ready. */
  get problem(): string {
    if (this.outcome === null) return this.reason;
    return this.reason === "exited" ? `${this.outcome} before it listened` : this.outcome;
  }

  /** Sets the timer; there is one at a time. */
  arm(ms: number, then: () => void): void {
    this.disarm();
    this.timer = setTimeout(then, ms);
  }

  disarm(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  /** As the store keeps it. */
  record(): InstanceRecord {
    const { id, app, release, state, reason, start, createdAt, readyAt, stoppedAt, outcome } = this;
    const { pid = null, ticks = null } = this.handle ?? {};
    return {
      id,
      app,
      release,
      state,
      reason,
      start,
      pid,
      ticks,
      createdAt,
      readyAt,
      stoppedAt,
      outcome,
    };
  }
}
