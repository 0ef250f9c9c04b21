/** What `spore fork` does. */

import { checkKvm, findMonitor, Instance } from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import { newMachine, restoreConfig } from "./restore.ts";

/** The flags of `spore fork`, as the parser gives them. */
export interface ForkFlags {
  readonly count: number | undefined;
  readonly env: readonly (readonly [string, string])[];
  readonly json: boolean;
}

/** Carries out `spore fork`. */
export async function forkSnapshot(
  flags: ForkFlags,
  words: readonly string[],
  context: Context,
): Promise<number> {
  checkKvm();
  const monitor = findMonitor(root, context.env);
  const env = Object.fromEntries(flags.env);
  const config = await restoreConfig(
    words[0] ?? "",
    { publish: undefined, env, events: "json", anyPort: true },
    context,
  );
  const instances: Instance[] = [];
  const stop = (): void => {
    for (const instance of instances) instance.signal("SIGTERM");
  };
  process.on("SIGINT", stop).on("SIGTERM", stop);
  try {
    for (let number = 0; number < (flags.count ?? 1); number++) {
      const instance = Instance.start(monitor, { ...config, ...newMachine() });
      instances.push(instance);
      instance.onEvent((event) => {
        if (flags.json) context.out(`${JSON.stringify({ instance: number, ...event })}\n`);
        else if (event.event === "listening") context.out(`${event.url}\n`);
      });
    }
    const ended = await Promise.all(instances.map((instance) => instance.ended));
    return Math.max(...ended);
  } finally {
    await Promise.all(instances.map((instance) => instance[Symbol.asyncDispose]()));
  }
}
