/** The app's own functions, called before a freeze and when the program goes on. */

import type { RestoreHandler, RestoreInfo, SuspendHandler } from "../lifecycle.ts";
import type { Channel } from "./channel.ts";

/** What the app has registered. */
export class Handlers {
  readonly #channel: Channel;
  readonly #suspend: Set<{ readonly call: SuspendHandler }> = new Set();
  readonly #restore: Set<{ readonly call: RestoreHandler }> = new Set();

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Adds one; gives what takes it back. */
  onSuspend(call: SuspendHandler): () => void {
    const entry = { call };
    this.#suspend.add(entry);
    // Freezes wait for this thread only while it has something to do before them.
    if (this.#suspend.size === 1) this.#channel.say("suspend on");
    return () => {
      if (this.#suspend.delete(entry) && this.#suspend.size === 0) this.#channel.say("suspend off");
    };
  }

  /** Adds one; gives what takes it back. */
  onRestore(call: RestoreHandler): () => void {
    const entry = { call };
    this.#restore.add(entry);
    return () => void this.#restore.delete(entry);
  }

  /** Calls everybody before a freeze and waits for them; undefined if there is nobody. */
  suspend(deadline: Date): Promise<unknown> | undefined {
    if (this.#suspend.size === 0) return undefined;
    return Promise.allSettled([...this.#suspend].map(({ call }) => attempt(() => call({ deadline }))));
  }

  /** Calls everybody when the program goes on. */
  goOn(info: RestoreInfo): void {
    for (const { call } of this.#restore) attempt(() => call(info));
  }
}

/** An error of the app is its own, as in any callback; it keeps the others from nothing. */
function attempt(call: () => unknown): unknown {
  try {
    const result = call();
    if (result instanceof Promise) result.catch(raise);
    return result;
  } catch (error) {
    raise(error);
    return undefined;
  }
}

function raise(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
