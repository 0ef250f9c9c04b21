/** From a snapshot file to the launch configuration that goes on from it. */

import { randomUUID } from "node:crypto";
import { resolve } from "node:path";
import { type Image, launchPlan, type RunOptions } from "@spore/image";
import {
  type EventStyle,
  findMonitor,
  type LaunchConfig,
  launchConfig,
  snapshotNotes,
} from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import { aboutOf, identity, imageOf } from "./about.ts";

/** What one restore changes. */
export interface RestoreOptions {
  readonly publish: RunOptions["publish"] | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly events: EventStyle;
  /** Each listener gets a free port. */
  readonly anyPort: boolean;
  readonly hostname?: string;
}

/** The configuration, which also says how to boot if the snapshot turns out to be unfit, and the image. */
export async function restoreConfig(
  target: string,
  options: RestoreOptions,
  context: Context,
): Promise<{ readonly config: LaunchConfig; readonly image: Image }> {
  const file = resolve(context.cwd, target);
  const about = aboutOf(file, snapshotNotes(findMonitor(root, context.env), file));
  const image = await imageOf(file, about);
  const { publish: usual, ...run } = about.run;
  const publish = options.publish ?? usual;
  const machine = newMachine();
  const plan = launchPlan(image, {
    ...run,
    env: { ...run.env, ...options.env },
    ...(publish && !options.anyPort && { publish }),
    hostname: options.hostname ?? machine.hostname,
  });
  const config = launchConfig(
    options.anyPort ? { ...plan, publish: null } : plan,
    {
      events: options.events,
      built: null,
      trace: false,
      gdb: null,
      reporter: [process.execPath, resolve(import.meta.dirname, "../main.ts"), "crash-report"],
    },
    {
      snapshot: identity(image, about.run),
      restore: file,
      restoredEnv: Object.entries(options.env).map(([key, value]) => `${key}=${value}`),
      anyPort: options.anyPort,
      instance: machine.instance,
    },
  );
  return { config, image };
}

/** What no other machine is called. */
export function newMachine(): { readonly instance: string; readonly hostname: string } {
  const instance = randomUUID();
  return { instance, hostname: `spore-${instance.slice(0, 8)}` };
}
