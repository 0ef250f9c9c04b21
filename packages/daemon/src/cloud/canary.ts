/**
 * Watches canaries: one that fails more often than the live release, or whose health check
 * fails, loses its requests.
 */

import { asSporeError } from "@spore/errors";
import type { Answered } from "@spore/gateway";
import type { Store } from "../store/types.ts";

/** Answers of a canary before anything is decided. */
const ENOUGH = 20;
/** So much more of its answers may be server errors than of the live release's. */
const MARGIN = 0.05;
/** Time between two health checks of a canary, in milliseconds. */
const CHECK_MS = 1000;
/** So many failed ones in a row decide. */
const FAILURES = 3;

/** Answers and server errors of one release. */
interface Count {
  answers: number;
  errors: number;
}

/** What a watch tells that a canary is to lose its requests. */
export interface Keeper {
  returnCanary(app: string, why: string): void;
}

/** What checks the health of a release; null if it is well, or sleeps, or has no check. */
export interface Health {
  healthOf(app: string, release: number): Promise<string | null>;
}

/** A canary while it is watched. */
interface Watched {
  readonly canary: number;
  readonly counts: Map<number, Count>;
  /** Health checks that have failed in a row. */
  failures: number;
  /** One is under way: an instance that hangs is not asked again meanwhile. */
  checking: boolean;
}

/** Counts answers of apps that have a canary, and checks its health. */
export class CanaryWatch {
  readonly #store: Store;
  readonly #keeper: Keeper;
  readonly #health: Health;
  readonly #watched = new Map<string, Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(store: Store, keeper: Keeper, health: Health) {
    this.#store = store;
    this.#keeper = keeper;
    this.#health = health;
    for (const { name } of store.list("apps")) this.refresh(name);
  }

  /** Something of the app has changed. */
  refresh(app: string): void {
    const canary = this.#store.get("apps", app)?.canary ?? null;
    if (canary === null) this.#watched.delete(app);
    else if (this.#watched.get(app)?.canary !== canary.release) {
      this.#watched.set(app, { canary: canary.release, counts: new Map(), failures: 0, checking: false });
    }
    if (this.#watched.size === 0) this.close();
    else this.#timer ??= setInterval(() => this.#checkAll(), CHECK_MS).unref();
  }

  /** Watches no longer. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #checkAll(): void {
    for (const [app, watched] of this.#watched) void this.checkHealth(app, watched);
  }

  /** Checks one canary once. */
  async checkHealth(app: string, watched: Watched | undefined = this.#watched.get(app)): Promise<void> {
    if (watched === undefined || watched.checking) return;
    watched.checking = true;
    const problem = await this.#health
      .healthOf(app, watched.canary)
      .catch((thrown: unknown) => asSporeError(thrown).message);
    watched.checking = false;
    watched.failures = problem === null ? 0 : watched.failures + 1;
    if (watched.failures < FAILURES || this.#watched.get(app) !== watched) return;
    this.#watched.delete(app);
    this.#keeper.returnCanary(app, `its health check failed ${FAILURES} times in a row: ${problem}`);
  }

  /** A request was answered, by the app or in its place. */
  answered({ target, status }: Answered): void {
    if (this.#watched.size === 0 || target === null) return;
    const [app = "", release] = target.split("/");
    const watched = this.#watched.get(app);
    if (watched === undefined) return;
    const number = Number(release);
    const count = watched.counts.get(number) ?? { answers: 0, errors: 0 };
    watched.counts.set(number, count);
    count.answers += 1;
    if (status >= 500) count.errors += 1;
    if (number === watched.canary && status >= 500) this.#judge(app, watched.canary, watched.counts);
  }

  #judge(app: string, canary: number, counts: ReadonlyMap<number, Count>): void {
    const own = counts.get(canary);
    if (own === undefined || own.answers < ENOUGH) return;
    let [answers, errors] = [0, 0];
    for (const [release, count] of counts) {
      if (release === canary) continue;
      answers += count.answers;
      errors += count.errors;
    }
    const usual = answers === 0 ? 0 : errors / answers;
    const rate = own.errors / own.answers;
    if (rate <= usual + MARGIN) return;
    this.#watched.delete(app);
    const percent = (value: number): string => `${Math.round(value * 100)} %`;
    this.#keeper.returnCanary(
      app,
      `${percent(rate)} of its answers were server errors, ${percent(usual)} of the others'`,
    );
  }
}
