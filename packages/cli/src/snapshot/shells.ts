/** What `spore shells` does. */

import { resolve } from "node:path";
import { checkKvm, findMonitor, poolSocket, Standby } from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import { restoreConfig } from "./restore.ts";

/** The flags of `spore shells`, as the parser gives them. */
export interface ShellFlags {
  readonly count: number | undefined;
  readonly json: boolean;
}

/** Carries out `spore shells`. */
export async function keepShells(
  flags: ShellFlags,
  words: readonly string[],
  context: Context,
): Promise<number> {
  checkKvm();
  const file = words[0] ?? "";
  const { config } = await restoreConfig(
    file,
    { publish: undefined, env: {}, events: "human", anyPort: false },
    context,
  );
  const socket = poolSocket(resolve(context.cwd, file), context.env);
  const count = flags.count ?? 2;
  await using pool = Standby.pool(findMonitor(root, context.env), config, count, socket);
  const stop = (): void => pool.signal("SIGTERM");
  process.on("SIGINT", stop).on("SIGTERM", stop);
  pool.onEvent((event) => {
    if (flags.json) context.out(`${JSON.stringify(event)}\n`);
  });
  await pool.until((events) => events.filter(({ event }) => event === "standby").length >= count);
  if (!flags.json) context.err(`spore: ${count} machines of ${file} stand by\n`);
  await pool.ended;
  return 0;
}
