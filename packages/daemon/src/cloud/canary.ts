/** Watches canaries: one that fails more often than the live release loses its requests. */

import type { Answered } from "@spore/gateway";
import type { Store } from "../store/types.ts";

/** Answers of a canary before anything is decided. */
const ENOUGH = 20;
/** So much more of its answers may be server errors than of the live release's. */
const MARGIN = 0.05;

/** Answers and server errors of one release. */
interface Count {
  answers: number;
  errors: number;
}

/** What a watch calls when a canary is to lose its requests. */
export type Return = (app: string, why: string) => void;

/** Counts answers of apps that have a canary. */
export class CanaryWatch {
  readonly #store: Store;
  readonly #giveUp: Return;
  readonly #watched = new Map<string, { canary: number; counts: Map<number, Count> }>();

  constructor(store: Store, giveUp: Return) {
    this.#store = store;
    this.#giveUp = giveUp;
    for (const { name } of store.list("apps")) this.refresh(name);
  }

  /** Something of the app has changed. */
  refresh(app: string): void {
    const canary = this.#store.get("apps", app)?.canary ?? null;
    if (canary === null) this.#watched.delete(app);
    else if (this.#watched.get(app)?.canary !== canary.release) {
      this.#watched.set(app, { canary: canary.release, counts: new Map() });
    }
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
    this.#giveUp(app, `${percent(rate)} of its answers were server errors, ${percent(usual)} of the others'`);
  }
}
