/** What happened: kept in the store, and told to whoever follows. */

import type { Event } from "@spore/api";
import type { Store } from "./store/types.ts";

/** Whose an event is. */
export interface Whose {
  readonly tenant: string | null;
  readonly project: string | null;
}

/** Told of every event. */
export type EventFollower = (event: Event, whose: Whose) => void;

/** What an event is about. */
export interface About {
  readonly tenant: string | null;
  /** That of the app, if absent. */
  readonly project?: string;
  readonly app?: string;
  readonly release?: number;
  readonly instance?: string;
}

/** The events of a daemon. */
export class Events {
  readonly #store: Store;
  readonly #followers = new Set<EventFollower>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Keeps and tells an event. */
  tell(kind: string, about: About, details: Event["details"] = {}): void {
    const { tenant, app = null, release = null, instance = null } = about;
    const project = about.project ?? (app === null ? null : (this.#store.get("apps", app)?.project ?? null));
    const event = this.#store.append({
      time: Date.now(),
      kind,
      tenant,
      project,
      app,
      release,
      instance,
      details,
    });
    // Nobody hears of what may yet be taken back.
    this.#store.after(() => {
      for (const follower of this.#followers) follower(event, { tenant, project });
    });
  }

  /** Follows; gives what ends it. */
  follow(follower: EventFollower): () => void {
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }
}
