/**
 * How many instances a load asks for, as Knative's autoscaler reckons it: by the
 * mean concurrency over a long window, and over a short one when that shows that
 * more than twice as many are needed as there are (panic), after which nothing is
 * taken away for a long window. Nothing runs by itself: it is told of every change
 * and asked when something happens.
 */

import type { Scaling } from "@spore/api";

/** Part of its hard limit that an instance is to have, if nothing else is said. */
const UTILISATION = 0.7;
/** So many times as many as there are: panic. */
const PANIC = 2;
/** Parts of the long window. */
const BUCKETS = 60;
/** Until the settings say otherwise. */
const DEFAULT_WINDOW_MS = 60_000;

/** Means over time of a number that changes. */
export class Load {
  #current = 0;
  #at: number;
  readonly #since: number;
  #bucketMs: number;
  /** Load times milliseconds of each part of the window, by its number. */
  readonly #buckets = new Map<number, number>();

  constructor(now: number, bucketMs: number) {
    this.#at = now;
    this.#since = now;
    this.#bucketMs = bucketMs;
  }

  get current(): number {
    return this.#current;
  }

  /** From now on it is `value`. */
  set(now: number, value: number): void {
    this.#advance(now);
    this.#current = value;
  }

  /** The mean of the last `windowMs`, or of as much as there was. */
  mean(now: number, windowMs: number): number {
    this.#advance(now);
    const first = Math.floor((now - windowMs) / this.#bucketMs) + 1;
    let sum = 0;
    for (const [number, weight] of this.#buckets) if (number >= first) sum += weight;
    const start = Math.max(this.#since, first * this.#bucketMs);
    // A blink at the very start is not a load.
    return sum / Math.max(now - start, this.#bucketMs);
  }

  #advance(now: number): void {
    const earliest = Math.floor(now / this.#bucketMs) - BUCKETS;
    if (this.#current > 0) {
      let at = Math.max(this.#at, earliest * this.#bucketMs);
      while (at < now) {
        const number = Math.floor(at / this.#bucketMs);
        const end = Math.min((number + 1) * this.#bucketMs, now);
        this.#buckets.set(number, (this.#buckets.get(number) ?? 0) + this.#current * (end - at));
        at = end;
      }
    }
    this.#at = now;
    for (const number of this.#buckets.keys()) {
      if (number > earliest) break;
      this.#buckets.delete(number);
    }
  }
}

/** Decides for one pool. */
export class Autoscaler {
  #load: Load | null = null;
  #windowMs = DEFAULT_WINDOW_MS;
  /** While in panic: its end, and the most that was asked for. */
  #panicUntil = 0;
  #panicMost = 0;

  /** Requests under way and waiting, from now on. */
  load(now: number, requests: number): void {
    this.#load ??= new Load(now, this.#windowMs / BUCKETS);
    this.#load.set(now, requests);
  }

  /** How many instances there should be; `ready`: how many can answer. */
  desired(now: number, ready: number, scaling: Scaling): number {
    const { windowMs, panicWindowMs } = scaling;
    const load = this.#loadFor(now, windowMs);
    const stable = instancesFor(load.mean(now, windowMs), scaling);
    const panic = instancesFor(load.mean(now, panicWindowMs), scaling);
    if (panic >= PANIC * Math.max(ready, 1)) this.#panicUntil = now + windowMs;
    if (now >= this.#panicUntil) {
      this.#panicMost = 0;
      return stable;
    }
    this.#panicMost = Math.max(this.#panicMost, panic, stable);
    return this.#panicMost;
  }

  /** What was seen in parts of another length is forgotten. */
  #loadFor(now: number, windowMs: number): Load {
    if (this.#load !== null && windowMs === this.#windowMs) return this.#load;
    const current = this.#load?.current ?? 0;
    this.#windowMs = windowMs;
    this.#load = new Load(now, windowMs / BUCKETS);
    this.#load.set(now, current);
    return this.#load;
  }
}

/** Requests that an instance is to have at a time. */
export function targetOf({ target, concurrency }: Scaling): number {
  return Math.min(target ?? Math.max(1, Math.round(concurrency * UTILISATION)), concurrency);
}

function instancesFor(mean: number, scaling: Scaling): number {
  if (mean === 0) return 0;
  const wanted = (mean + scaling.burst) / targetOf(scaling);
  // Means are sums of fractions: 2.0000001 is two.
  return Math.min(Math.ceil(wanted - 1e-6), scaling.max);
}
