/** Finds the monitor and becomes it. */

import { accessSync, constants, rmSync } from "node:fs";
import { join } from "node:path";
import { sporeError } from "@spore/errors";
import { writeConfigFile } from "./config-file.ts";
import type { LaunchConfig } from "./launch-config.ts";

/** The monitor of a checkout, or the one that SPORE_MONITOR names. Throws SPORE_NOT_BUILT. */
export function findMonitor(
  root: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const path = env["SPORE_MONITOR"] || join(root, "target/release/spore-monitor");
  try {
    accessSync(path, constants.X_OK);
  } catch (cause) {
    throw sporeError("SPORE_NOT_BUILT", { what: "the monitor", path }, { cause });
  }
  return path;
}

/** Throws SPORE_KVM_MISSING or SPORE_KVM_PERMISSION before any work is done in vain. */
export function checkKvm(device = "/dev/kvm"): void {
  try {
    accessSync(device, constants.R_OK | constants.W_OK);
  } catch (cause) {
    const missing = ["ENOENT", "ENOTDIR"].includes((cause as NodeJS.ErrnoException).code ?? "");
    throw sporeError(missing ? "SPORE_KVM_MISSING" : "SPORE_KVM_PERMISSION", {}, { cause });
  }
}

/**
 * Replaces this process by the monitor: it inherits the standard streams, the
 * terminal and the process id, so nothing stands between it and its caller.
 */
export function becomeMonitor(monitor: string, config: LaunchConfig): never {
  const file = writeConfigFile(config);
  try {
    const { execve } = process;
    if (execve === undefined) throw new Error("this Node.js has no process.execve");
    return execve.call(process, monitor, [monitor, "--config", file], process.env);
  } catch (cause) {
    rmSync(file, { force: true });
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw sporeError("SPORE_INTERNAL", { problem: `${monitor} cannot be started: ${problem}` }, { cause });
  }
}
