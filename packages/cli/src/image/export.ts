/** `spore image export`: the memory that a machine boots from, in one file. */

import { type Image, launchPlan } from "@spore/image";
import { exportMemory, findMonitor, launchConfig } from "@spore/monitor-client";
import { root } from "../checkout.ts";
import type { Context } from "../command.ts";
import type { ExportFormat } from "./export-format.ts";

/** Writes it. Nothing of this machine is in it: no name server, no random seed. */
export function exportImage(image: Image, format: ExportFormat, output: string, context: Context): number {
  const monitor = findMonitor(root, context.env);
  const plan = launchPlan(image, { files: [{ path: "/etc/resolv.conf", mode: 0o644, data: "" }] });
  const run = { events: "quiet", built: null, trace: false, gdb: null, reporter: null } as const;
  return exportMemory(monitor, launchConfig(plan, run), format, output);
}
