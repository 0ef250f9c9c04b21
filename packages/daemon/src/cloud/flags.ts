/** Feature flags: set for an app, evaluated at once. */

import type { Evaluation, Flag } from "@spore/api";
import { sporeError } from "@spore/errors";
import type { Events } from "../events.ts";
import { namedKey, type Store } from "../store/types.ts";

/** The flags of all apps. */
export class Flags {
  readonly #store: Store;
  readonly #events: Events;

  constructor(store: Store, events: Events) {
    this.#store = store;
    this.#events = events;
  }

  list(app: string): readonly Flag[] {
    return this.#store.list("flags", { prefix: `${app}/` }).map(({ app: _, ...flag }) => flag);
  }

  put(app: string, key: string, flag: Omit<Flag, "key" | "updatedAt">): Flag {
    const { enabled, variants, variant } = flag;
    if (!Object.hasOwn(variants, variant)) {
      throw sporeError("SPORE_CONFLICT", { problem: `"${variant}" is none of the flag's variants` });
    }
    const next = { key, enabled, variants, variant, updatedAt: Date.now() };
    this.#store.put("flags", namedKey(app, key), { app, ...next });
    this.#store.durable();
    this.#tell(app, key, "flag.changed");
    return next;
  }

  remove(app: string, key: string): void {
    this.#get(app, key);
    this.#store.delete("flags", namedKey(app, key));
    this.#store.durable();
    this.#tell(app, key, "flag.removed");
  }

  /** As OFREP answers; a flag that is off gives its `off` variant, or its negation. */
  evaluate(app: string, key: string): Evaluation {
    const { enabled, variants, variant } = this.#get(app, key);
    const given = enabled || !("off" in variants) ? variant : "off";
    return { key, reason: enabled ? "STATIC" : "DISABLED", variant: given, value: variants[given] ?? false };
  }

  #get(app: string, key: string): Flag {
    const flag = this.#store.get("flags", namedKey(app, key));
    if (flag === null) throw sporeError("SPORE_NOT_FOUND", { what: `flag ${key} of ${app}` });
    return flag;
  }

  #tell(app: string, key: string, kind: string): void {
    this.#events.tell(kind, { tenant: this.#store.get("apps", app)?.tenant ?? null, app }, { key });
  }
}
