/** What `spore run` does with a snapshot. */

import { flushCompileCache } from "node:module";
import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import { becomeMonitor, findMonitor, findPool, poolSocket } from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import type { LaunchRecord } from "../launch-record.ts";
import { eventStyle, type RunFlags } from "../run.ts";
import { readEnvFile } from "../settings/env-file.ts";
import { restoreConfig } from "./restore.ts";

/** The flags of `spore run`, and the arguments after `--`. */
export interface SnapshotRunFlags extends RunFlags {
  readonly args: readonly string[] | undefined;
}

/** Goes on from a snapshot: the monitor takes the process over. Leaves a record for the next time. */
export async function runSnapshot(
  target: string,
  flags: SnapshotRunFlags,
  record: LaunchRecord | null,
  context: Context,
): Promise<never> {
  refuseDecided(flags);
  const file = resolve(context.cwd, target);
  const envFile = flags["env-file"] === undefined ? undefined : resolve(context.cwd, flags["env-file"]);
  if (envFile !== undefined) record?.path(envFile);
  record?.variable("XDG_RUNTIME_DIR");
  record?.path(poolSocket(file, context.env));
  const { config, image } = await restoreConfig(
    target,
    {
      publish: flags.publish.length > 0 ? flags.publish : undefined,
      env: { ...(envFile !== undefined && readEnvFile(envFile)), ...Object.fromEntries(flags.env) },
      events: eventStyle(flags),
      anyPort: false,
    },
    context,
  );
  const orders = flags.orders === undefined ? null : resolve(context.cwd, flags.orders);
  // Only a machine of one's own can be given orders.
  const pool = orders === null ? findPool(file, context.env) : null;
  const started = { ...config, pool, orders };
  record?.keep(process.argv.slice(2), root, started, { image, record: null });
  flushCompileCache();
  return becomeMonitor(findMonitor(root, context.env), started);
}

/** Throws SPORE_USAGE for what was decided when the snapshot was taken. */
function refuseDecided(flags: SnapshotRunFlags): void {
  const given: readonly (readonly [flag: string, isGiven: boolean])[] = [
    ["--memory", flags.memory !== undefined],
    ["--include", flags.include.length > 0],
    ["--cwd", flags.cwd !== undefined],
    ["--node", flags.node !== undefined],
    ["--pieces", flags.pieces !== undefined],
    ["--recording", flags.recording !== undefined],
    ["--piece", flags.piece.length > 0],
    ["--without", flags.without.length > 0],
    ["--no-patch", flags["no-patch"]],
    ["--explain", flags.explain],
    ["--trace", flags.trace],
    ["--gdb", flags.gdb !== undefined],
    ["-- ARG", (flags.args ?? []).length > 0],
  ];
  const [refused] = given.find(([, isGiven]) => isGiven) ?? [];
  if (refused === undefined) return;
  const problem = `${refused} is decided when a snapshot is taken: TARGET goes on as it was`;
  throw sporeError("SPORE_USAGE", { problem, command: "run" });
}
