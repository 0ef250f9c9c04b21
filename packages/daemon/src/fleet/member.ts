/** One instance, as the daemon that runs it knows it. */

import type { InstanceReason, InstanceState, StartKind } from "@spore/api";
import type { Endpoint, Handle } from "../driver/types.ts";
import type { InstanceRecord } from "../store/types.ts";

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

  constructor(id: string, app: string, release: number, reason: InstanceReason) {
    this.id = id;
    this.app = app;
    this.release = release;
    this.reason = reason;
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
