/**
 * Runs in every Node.js thread of a Spore image before the app (`--require`).
 * Where the machine may be frozen, it brings what Node.js keeps in memory in order
 * after a restore, and leaves behind what `@spore/sdk` calls.
 */

import { LIFECYCLE, type Lifecycle } from "../lifecycle.ts";
import { openChannel } from "./channel.ts";
import { Handlers } from "./handlers.ts";
import { restHeap, wakeHeap } from "./heap.ts";
import { freshCaches, freshMathRandom } from "./random.ts";

const channel = openChannel();
if (channel !== null) {
  const reseed = freshMathRandom();
  const expire = freshCaches();
  const handlers = new Handlers(channel);
  const renew = (env: Readonly<Record<string, string>>, seed: string): void => {
    Object.assign(process.env, env);
    reseed(seed);
    expire();
  };
  channel.listen({
    suspend: (deadline) => handlers.suspend(deadline),
    rehearse: (seed) => {
      renew({}, seed);
      restHeap();
    },
    restored: (info, env, seed) => {
      renew(env, seed);
      handlers.goOn(info);
    },
    resumed: () => {
      wakeHeap();
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
