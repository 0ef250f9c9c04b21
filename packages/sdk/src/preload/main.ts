/**
 * Runs in every Node.js thread of a Spore image before the app (`--require`).
 * Where the machine may be frozen, it brings what Node.js keeps in memory in order
 * after a restore, and leaves behind what `@spore/sdk` calls.
 */

import { LIFECYCLE, type Lifecycle, type RestoreInfo } from "../lifecycle.ts";
import { openChannel } from "./channel.ts";
import { Handlers } from "./handlers.ts";
import { collectAgain, collectLater, dontCollect } from "./heap.ts";
import { freshCaches, freshMathRandom, Generator } from "./random.ts";

/** What a restore changes. */
interface State {
  readonly env: Record<string, string | undefined>;
  readonly reseed: (seed: string) => void;
  readonly expire: () => void;
  readonly handlers: Handlers;
}

function renew(state: State, info: RestoreInfo, env: Readonly<Record<string, string>>, seed: string): void {
  Object.assign(state.env, env);
  state.reseed(seed);
  state.expire();
  state.handlers.goOn(info);
}

const channel = openChannel();
if (channel !== null) {
  const handlers = new Handlers(channel);
  const state: State = { env: process.env, reseed: freshMathRandom(), expire: freshCaches(), handlers };
  const spare = new Generator();
  /** In the place of all that a rehearsal must not change; the caches may expire at any time. */
  const stage: State = {
    ...state,
    env: {},
    reseed: (seed) => spare.seed(seed),
    handlers: new Handlers(channel),
  };
  channel.listen({
    suspend: (deadline) => handlers.suspend(deadline),
    rehearse: () => {
      // What runs for the first time is compiled first: once here, not in every copy.
      renew(stage, channel.info, {}, "0".repeat(64));
      dontCollect();
    },
    restored: (info, env, seed) => {
      renew(state, info, env, seed);
      collectLater();
    },
    resumed: () => {
      collectAgain();
      handlers.goOn({ ...channel.info, restored: false });
    },
  });
  const lifecycle: Lifecycle = {
    get info() {
      return channel.info;
    },
    onSuspend: (handler) => handlers.onSuspend(handler),
    onRestore: (handler) => handlers.onRestore(handler),
    hold: () => {
      channel.say("hold");
      return () => channel.say("release");
    },
    ready: () => channel.say("ready"),
  };
  Object.defineProperty(globalThis, LIFECYCLE, { value: lifecycle });
}
