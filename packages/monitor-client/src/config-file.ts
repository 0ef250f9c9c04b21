/** The file that carries a launch configuration to the monitor. */

import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sporeError } from "@spore/errors";
import type { LaunchConfig } from "./launch-config.ts";

/** The folder for what lives as long as a command. */
export function runtimeFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  return env["XDG_RUNTIME_DIR"] || tmpdir();
}

/**
 * Writes the configuration where only this user can read it (it holds the
 * program's environment) and returns the path. The monitor removes the file.
 */
export function writeConfigFile(
  config: LaunchConfig,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const directory = runtimeFolder(env);
  // Not node:crypto, which takes 5 ms to load: "wx" refuses a name that someone else guessed.
  const file = join(directory, `spore-${process.pid}-${Math.random().toString(36).slice(2)}.json`);
  try {
    writeFileSync(file, JSON.stringify(config), { mode: 0o600, flag: "wx" });
  } catch (cause) {
    rmSync(file, { force: true });
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw sporeError("SPORE_OUTPUT_WRITE", { file, problem }, { cause });
  }
  return file;
}
