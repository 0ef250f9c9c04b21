/** What `spore fork` does. */

import { checkKvm, findMonitor, Standby } from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import { restoreConfig } from "./restore.ts";

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
  const env = Object.fromEntries(flags.env);
  const { config } = await restoreConfig(
    words[0] ?? "",
    { publish: undefined, env, events: "json", anyPort: true },
    context,
  );
  await using machines = Standby.fork(findMonitor(root, context.env), config, flags.count ?? 1);
  const stop = (): void => machines.signal("SIGTERM");
  process.on("SIGINT", stop).on("SIGTERM", stop);
  machines.onEvent((event) => {
    if (flags.json) context.out(`${JSON.stringify(event)}\n`);
    else if (event.event === "listening") context.out(`${event.url}\n`);
  });
  return await machines.ended;
}
