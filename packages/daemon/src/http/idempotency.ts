/** Calls that are carried out once, however often they are sent. */

import { sporeError } from "@spore/errors";
import type { Scope } from "../cloud/tenants.ts";
import type { Store } from "../store/types.ts";
import type { Commit } from "./call.ts";

/** Answers are kept for a day. */
const KEPT_MS = 86_400_000;
const running = new WeakMap<Store, Map<string, Running>>();

interface Running {
  readonly question: string;
  readonly answer: Promise<unknown>;
}

/** A key, whose it is, and what is asked. */
export interface Asked {
  readonly scope: Scope;
  readonly key: string;
  /** What tells this call from others, as nobody can read it: a call may set a secret. */
  readonly question: string;
}

/**
 * Carries `work` out unless it was before; gives the answer of the first time. What
 * `work` commits is kept together with its answer, or not at all: a daemon that is
 * killed has neither done it without knowing nor knows of what was not done.
 */
export async function once(
  store: Store,
  { scope: { tenant, project }, key: said, question }: Asked,
  work: (commit: Commit) => Promise<unknown>,
): Promise<unknown> {
  if (!/^[\x21-\x7e]{1,200}$/.test(said)) {
    throw sporeError("SPORE_API_INVALID", { problem: "the idempotency key is too long or not printable" });
  }
  const key = `${tenant}/${project ?? ""}/${said}`;
  const known = store.get("answers", key);
  const calls = running.get(store) ?? new Map<string, Running>();
  running.set(store, calls);
  const current = known !== null && known.time > Date.now() - KEPT_MS ? known : calls.get(key);
  if (current !== undefined) {
    if (current.question !== question) {
      throw sporeError("SPORE_CONFLICT", { problem: "the idempotency key was used for another call" });
    }
    return await current.answer;
  }
  const call = work((effect) =>
    store.transaction(() => {
      const answer = effect();
      store.put("answers", key, { key, question, answer, time: Date.now() });
      return answer;
    }),
  );
  calls.set(key, { question, answer: call });
  try {
    return await call;
  } finally {
    calls.delete(key);
  }
}

/** Removes answers that are too old to matter. */
export function sweepAnswers(store: Store): void {
  for (const { key, time } of store.list("answers")) {
    if (time <= Date.now() - KEPT_MS) store.delete("answers", key);
  }
}
