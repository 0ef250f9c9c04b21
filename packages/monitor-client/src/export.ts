/** Has the monitor write the memory of a machine at its first instruction. */

import { spawnSync } from "node:child_process";
import { writeConfigFile } from "./config-file.ts";
import type { LaunchConfig } from "./launch-config.ts";

/** Writes `output`; the monitor says on standard error what goes wrong. Gives its exit status. */
export function exportMemory(
  monitor: string,
  config: LaunchConfig,
  format: "elf" | "raw",
  output: string,
): number {
  const words = ["--export", format, output, writeConfigFile(config)];
  return spawnSync(monitor, words, { stdio: ["ignore", "ignore", "inherit"] }).status ?? 70;
}
