/**
 * The instances of one release: who gets a request, when another instance is
 * started, and when one sleeps. Everything is decided in one turn of the event
 * loop by what is known in that turn, so no request can meet an instance that
 * was just told to stop.
 */

import type { AppSettings, InstanceReason, Scaling } from "@spore/api";
import { asSporeError } from "@spore/errors";
import { type Caller, type Lease, Refusal } from "@spore/gateway";
import { Autoscaler, targetOf } from "./autoscaler.ts";
import type { Member } from "./member.ts";

/** Requests that may wait for one release. */
const QUEUE_LIMIT = 2000;
/** After so many failed starts in a row, the next waits. */
const FAILURES_FREE = 2;
const BACKOFF_MS = 1000;
const BACKOFF_LIMIT_MS = 30_000;

/** An instance that let so many requests in a row go unanswered is replaced. */
const UNANSWERED = 3;

/** What a pool asks of the fleet. */
export interface PoolHost {
  settings(): AppSettings;
  /** Starts an instance; `settled` of the member says how it went. Throws if it may not. */
  start(pool: Pool, reason: InstanceReason): Member;
  stop(member: Member, reason: InstanceReason): void;
  /** Nothing idle may lead to the member. */
  retire(member: Member): void;
  /** It sleeps with its connections. */
  asleep(member: Member): void;
}

interface Waiter {
  readonly caller: Caller;
  readonly since: number;
  readonly grant: (lease: Lease) => void;
  readonly refuse: (why: Refusal) => void;
  readonly timer: NodeJS.Timeout;
}

/** The instances of one release. */
export class Pool {
  readonly app: string;
  readonly release: number;
  /** Starting and ready ones, the oldest first. */
  readonly members: Member[] = [];
  readonly draining: Set<Member> = new Set();
  readonly #host: PoolHost;
  readonly #waiting: Waiter[] = [];
  #failures = 0;
  #blockedUntil = 0;
  readonly #autoscaler: Autoscaler = new Autoscaler();
  /** Requests that instances have. */
  #busy = 0;
  /** Instances that are kept awake; the live release's `min`. */
  minimum = 0;

  constructor(app: string, release: number, host: PoolHost) {
    this.app = app;
    this.release = release;
    this.#host = host;
  }

  /** Nothing would be lost with it: it has no instance, is to have none, and none has failed to start. */
  get unused(): boolean {
    const { members, draining, minimum } = this;
    return members.length + draining.size + this.#waiting.length + minimum + this.#failures === 0;
  }

  /** Requests that wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** An instance for a request; throws or rejects with a `Refusal`. */
  acquire(caller: Caller): Lease | Promise<Lease> {
    const { scaling, startTimeoutMs } = this.#host.settings();
    const since = performance.now();
    const member = this.#waiting.length === 0 ? this.#withRoom(scaling) : null;
    if (member !== null) {
      const lease = this.#lease(member, member.state === "ready" ? null : since);
      this.#scaleAhead();
      return lease;
    }
    if (this.#waiting.length >= QUEUE_LIMIT) {
      throw new Refusal(503, "SPORE_OVERLOADED", "too many requests wait for the app", 1);
    }
    this.#scaleUp(1);
    // One that stood by takes requests from the moment that it is told to run.
    const woken = this.#waiting.length === 0 ? this.#withRoom(scaling) : null;
    if (woken !== null) return this.#lease(woken, since);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#drop(waiter);
        waiter.refuse(tooLate());
      }, startTimeoutMs);
      const waiter: Waiter = {
        caller,
        since,
        grant: resolve,
        refuse: reject,
        timer,
      };
      caller.onGone = () => this.#drop(waiter);
      this.#waiting.push(waiter);
      this.#count(0);
    });
  }

  /**
   * Who takes a request. The oldest first, up to its target: what is not needed
   * becomes idle, and sleeps. Above the target, the one that has the fewest.
   */
  #withRoom(scaling: Scaling): Member | null {
    const target = targetOf(scaling);
    let fewest: Member | null = null;
    for (const member of this.members) {
      if (!member.takes || member.inFlight >= scaling.concurrency) continue;
      if (member.inFlight < target) return member;
      if (fewest === null || member.inFlight < fewest.inFlight) fewest = member;
    }
    return fewest;
  }

  /** How many instances the load of late asks for. */
  #desired(): number {
    const { scaling } = this.#host.settings();
    const ready = this.members.filter(({ state }) => state === "ready").length;
    return this.#autoscaler.desired(performance.now(), ready, scaling);
  }

  /** The load has changed. */
  #count(change: number): void {
    this.#busy += change;
    this.#autoscaler.load(performance.now(), this.#busy + this.#waiting.length);
  }

  /** Starts what the load of late asks for, before anybody has to wait. */
  #scaleAhead(): void {
    const { scaling } = this.#host.settings();
    const { length } = this.members;
    if (length >= scaling.max || this.#busy + scaling.burst <= length * targetOf(scaling)) return;
    const wanted = this.#desired();
    while (this.members.length < wanted) if (!this.#start("demand")) return;
  }

  /** Starts what waiting requests and the minimum ask for. */
  #scaleUp(more: number): void {
    const { scaling } = this.#host.settings();
    const wanted = this.#waiting.length + more;
    let promised = 0;
    for (const { state, inFlight } of this.members) {
      if (state === "starting") promised += scaling.concurrency - inFlight;
    }
    while (promised < wanted && this.members.length < scaling.max) {
      if (!this.#start("demand")) return;
      promised += scaling.concurrency;
    }
  }

  /** Starts one; false if it may not be now but others may do. */
  #start(reason: InstanceReason): boolean {
    const alone = this.members.length === 0;
    const wait = this.#blockedUntil - performance.now();
    if (wait > 0) {
      if (!alone) return false;
      const seconds = Math.ceil(wait / 1000);
      throw new Refusal(503, "SPORE_START_FAILED", "the app did not start; it is tried again soon", seconds);
    }
    try {
      this.members.push(this.#host.start(this, reason));
      return true;
    } catch (thrown) {
      if (!alone) return false;
      if (thrown instanceof Refusal) throw thrown;
      const error = asSporeError(thrown);
      throw new Refusal(503, error.code, error.message, 1);
    }
  }

  /** As many as the minimum asks for. */
  ensureMinimum(): void {
    const wanted = Math.min(this.minimum, this.#host.settings().scaling.max);
    while (this.members.length < wanted) {
      try {
        if (!this.#start("minimum")) return;
      } catch (thrown) {
        // Not now: the next failure or request tries again.
        if (!(thrown instanceof Refusal)) throw thrown;
        return;
      }
    }
  }

  /** An instance that is ready, started if there is none. Rejects with what went wrong. */
  async warm(reason: InstanceReason): Promise<Member> {
    const ready = this.members.find(({ state }) => state === "ready");
    if (ready !== undefined) return ready;
    this.#blockedUntil = 0;
    let member = this.members.find(({ state }) => state === "starting");
    if (member === undefined) {
      member = this.#host.start(this, reason);
      this.members.push(member);
    }
    const waited = member;
    await new Promise<void>((resolve) => void waited.settled.push(resolve));
    return waited;
  }

  /** Keeps a member awake until what this gives is called. */
  hold(member: Member): () => void {
    this.#use(member);
    let held = true;
    return () => {
      if (held) this.#release(member);
      held = false;
    };
  }

  /** A request begins; a start has its own timer. */
  #use(member: Member): void {
    member.inFlight += 1;
    this.#count(1);
    if (member.state !== "starting") member.disarm();
  }

  /** Requests may be sent to a member, which is about to run. */
  onTakes(member: Member): void {
    this.#serve(member);
  }

  /** A member listens. */
  onReady(member: Member): void {
    this.#failures = 0;
    this.#blockedUntil = 0;
    this.#serve(member);
    if (member.idle) this.#rest(member);
  }

  /** The program says how many reasons it has to stay awake. */
  onHolds(member: Member, count: number): void {
    const before = member.holds;
    member.holds = count;
    if (count > 0 && before === 0 && member.state === "ready") member.disarm();
    if (count > 0 || before === 0 || !member.idle) return;
    if (member.state === "draining") this.#host.stop(member, member.reason);
    else if (member.state === "ready") this.#rest(member);
  }

  /** A member that an earlier daemon started. */
  adopt(member: Member): void {
    this.members.push(member);
    if (member.state === "ready") this.#rest(member);
  }

  /** A member has stopped; `failed`: it never was ready. */
  onStopped(member: Member, failed: boolean): void {
    member.disarm();
    this.draining.delete(member);
    const index = this.members.indexOf(member);
    if (index >= 0) this.members.splice(index, 1);
    if (index >= 0 && failed) this.#onFailure(member);
    if (this.#waiting.length > 0) this.#retry();
    if (index >= 0) this.ensureMinimum();
  }

  #onFailure(member: Member): void {
    this.#failures += 1;
    const step = this.#failures - FAILURES_FREE;
    if (step > 0)
      this.#blockedUntil = performance.now() + Math.min(BACKOFF_MS * 2 ** (step - 1), BACKOFF_LIMIT_MS);
    if (this.members.length > 0) return;
    const timeout = member.reason === "start-timeout";
    const text = `the app did not start: ${member.problem}`;
    const why = new Refusal(timeout ? 504 : 502, timeout ? "SPORE_WAKE_TIMEOUT" : "SPORE_START_FAILED", text);
    this.#refuseAll(why);
  }

  #retry(): void {
    try {
      this.#scaleUp(0);
    } catch (thrown) {
      const why = thrown instanceof Refusal ? thrown : new Refusal(502, "SPORE_START_FAILED", String(thrown));
      this.#refuseAll(why);
    }
  }

  /** Takes a member out: it finishes what it has, and stops. */
  drain(member: Member, reason: InstanceReason): void {
    member.handle?.look();
    if (member.state === "stopped" || member.state === "draining") return;
    const index = this.members.indexOf(member);
    if (index >= 0) this.members.splice(index, 1);
    member.state = "draining";
    member.reason = reason;
    this.draining.add(member);
    this.#host.retire(member);
    if (member.idle) {
      this.#host.stop(member, reason);
      return;
    }
    member.arm(this.#host.settings().drainTimeoutMs, () => this.#host.stop(member, reason));
  }

  /** Another release took over. */
  drainAll(reason: InstanceReason): void {
    this.minimum = 0;
    this.#failures = 0;
    for (const member of [...this.members]) this.drain(member, reason);
  }

  /** Settings have changed. */
  onSettings(): void {
    for (const member of this.members) {
      if (member.state === "ready" && member.idle) this.#rest(member);
    }
    this.ensureMinimum();
  }

  /** `since`: when the request came, if it had to wait. */
  #lease(member: Member, since: number | null): Lease {
    const { endpoint, started } = member;
    if (endpoint === null) throw new Error("a member without an endpoint is not ready");
    this.#use(member);
    const granted = performance.now();
    // It waited for this very start, or for a place.
    const woken = (): boolean => since !== null && since <= member.runsSince;
    let open = true;
    let resting = false;
    const release = (): void => {
      if (!open) return;
      open = false;
      if (resting) member.resting -= 1;
      else this.#release(member);
    };
    return {
      address: endpoint,
      started,
      // How a machine that stood by was woken is known once it runs.
      get start() {
        return woken() ? member.start : "warm";
      },
      get phases() {
        if (since === null) return noPhases;
        const wait = Math.max(granted, started === null ? 0 : member.runsSince) - since;
        return phasesOf(member, wait, woken());
      },
      release,
      rest: () => {
        if (!open || resting) return;
        resting = true;
        member.resting += 1;
        this.#release(member);
      },
      resume: () => {
        if (!open || !resting) return;
        resting = false;
        member.resting -= 1;
        this.#use(member);
      },
      leaving: () => member.state === "draining" || member.state === "stopped",
      unreachable: () => {
        release();
        if (member.state === "ready") this.drain(member, "crashed");
      },
      answered: () => {
        member.unanswered = 0;
      },
      unanswered: () => {
        member.unanswered += 1;
        // It hangs, or its monitor does: others get their answers from another.
        if (member.unanswered >= UNANSWERED && member.state === "ready") this.drain(member, "hung");
      },
    };
  }

  #release(member: Member): void {
    member.inFlight -= 1;
    this.#count(-1);
    if (member.state === "stopped") return;
    // Awake, it has a while before it sleeps.
    if (member.state === "starting") return;
    if (member.state === "draining") {
      if (member.idle) this.#host.stop(member, member.reason);
      return;
    }
    if (this.#waiting.length > 0) this.#serve(member);
    if (member.idle) this.#rest(member);
  }

  /** Gives waiting requests to a member as long as it has room. */
  #serve(member: Member): void {
    const { concurrency } = this.#host.settings().scaling;
    while (member.takes && member.inFlight < concurrency) {
      const waiter = this.#waiting.shift();
      if (waiter === undefined) return;
      clearTimeout(waiter.timer);
      waiter.caller.onGone = null;
      waiter.grant(this.#lease(member, waiter.since));
    }
  }

  /** It sleeps if nobody calls. */
  #rest(member: Member): void {
    const { idleMs, windowMs } = this.#host.settings().scaling;
    const look = (): void => {
      // What the program said a moment ago counts.
      member.handle?.look();
      if (member.state !== "ready" || !member.idle || member.asleep) return;
      const awake = this.members.filter(({ state }) => state === "ready").length;
      // While anybody calls, as many stay as the load of late asks for.
      const wanted = this.#busy + this.#waiting.length > 0 ? this.#desired() : 0;
      if (awake > Math.max(this.minimum, wanted)) this.#sleep(member);
      else member.arm(Math.max(idleMs, windowMs / 60), look);
    };
    member.arm(idleMs, look);
  }

  /** With its connections, if there are any and they are to be kept; else it is stopped. */
  #sleep(member: Member): void {
    const sleep = member.handle?.sleep ?? null;
    if (sleep === null || member.resting === 0 || !this.#host.settings().keepConnections) {
      this.drain(member, "idle");
      return;
    }
    member.asleep = true;
    // Those that are closed later would wake it.
    this.#host.retire(member);
    sleep().then(
      () => this.#host.asleep(member),
      // It is awake, and may be tried again.
      () => this.onAwake(member),
    );
  }

  /** A member that slept with its connections goes on. */
  onAwake(member: Member): void {
    member.asleep = false;
    if (member.state === "ready" && member.idle) this.#rest(member);
  }

  #refuseAll(why: Refusal): void {
    const waiting = this.#waiting.splice(0);
    this.#count(0);
    for (const waiter of waiting) this.#refuse(waiter, why);
  }

  #refuse(waiter: Waiter, why: Refusal): void {
    clearTimeout(waiter.timer);
    waiter.caller.onGone = null;
    waiter.refuse(why);
  }

  /** The caller is gone, or has waited too long. */
  #drop(waiter: Waiter): void {
    clearTimeout(waiter.timer);
    const index = this.#waiting.indexOf(waiter);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    this.#count(0);
  }
}

/** Nothing was ready for too long. */
export function tooLate(): Refusal {
  return new Refusal(504, "SPORE_WAKE_TIMEOUT", "no instance of the app was ready in time", 1);
}

const noPhases: Lease["phases"] = {};

function phasesOf(member: Member, wait: number, woken: boolean): Lease["phases"] {
  return woken ? { wait, [member.start]: member.wakeMs, ...member.handle?.phases } : { wait };
}
