/**
 * What the emulated machine is to run: programs of this host as images, each with
 * the launch configuration that the command line would have written, for files
 * that lie in the machine's initramfs.
 */

import { execFileSync } from "node:child_process";
import { basename, join } from "node:path";
import { buildImage, type Image, launchPlan, type RunOptions } from "@spore/image";
import { findMonitor, type LaunchConfig, launchConfig } from "@spore/monitor-client";
import { type Content, copyOf } from "./cpio.ts";
import type { DebianKernel } from "./debian-kernel.ts";
import { initScript, ORDERS, type Run, SNAPSHOT } from "./init-script.ts";

/** One program in one microVM inside the emulated machine. */
export interface GuestRun extends Run {
  /** ELF program of this host. */
  readonly program: string;
  readonly options: RunOptions;
  /** Default true: as on the command line. */
  readonly patch?: boolean;
  /** Processors of the emulated machine that it may use. With one, no thread serves the rings. */
  readonly cpus?: readonly number[];
}

/** Everything the initramfs holds. `root` is the checkout, `order` the program that gives a monitor an order. */
export async function machineFiles(
  runs: readonly GuestRun[],
  kernel: DebianKernel,
  root: string,
  order: string,
): Promise<Map<string, Content>> {
  const files = new Map<string, Content>([
    ["/dev/console", { kind: "character-device", major: 5, minor: 1 }],
    ["/proc/.keep", empty()],
    ["/sys/.keep", empty()],
    ["/tmp/.keep", empty()],
    ["/bin/busybox", copyOf("/bin/busybox")],
    ["/init", { kind: "text", text: initScript(runs, kernel.modules.map(moduleName)), mode: 0o755 }],
  ]);
  for (const module of kernel.modules) files.set(`/modules/${moduleName(module)}`, copyOf(module));
  files.set("/bin/order", copyOf(order));
  const monitor = findMonitor(root);
  files.set("/bin/spore-monitor", copyOf(monitor));
  for (const library of librariesOf(monitor)) files.set(library, copyOf(library));
  for (const run of runs) {
    const { image } = await buildImage({ target: run.program, patch: run.patch ?? true });
    const { kernel } = launchPlan(image, run.options);
    for (const { path } of [kernel, ...image.layers]) files.set(placeOf(path), copyOf(path));
    const config = configOf(image, run);
    const add = (name: string, value: LaunchConfig): void => {
      files.set(`/configs/${name}.json`, { kind: "text", text: JSON.stringify(value), mode: 0o600 });
    };
    add(run.name, run.isFrozen === true ? { ...config, orders: ORDERS } : config);
    if (run.isFrozen === true) add(`${run.name}-again`, { ...config, restore: SNAPSHOT });
  }
  return files;
}

function configOf(image: Image, run: GuestRun): LaunchConfig {
  const plan = launchPlan(image, run.options);
  const config = launchConfig(
    {
      ...plan,
      kernel: { ...plan.kernel, path: placeOf(plan.kernel.path) },
      layers: plan.layers.map((layer) => ({ ...layer, path: placeOf(layer.path) })),
    },
    {
      events: run.server === undefined ? "quiet" : "json",
      built: null,
      trace: false,
      gdb: null,
      reporter: null,
    },
    { snapshot: { image: image.digest, kernel: image.kernel.sha256, about: {} } },
  );
  return { ...config, cpus: run.cpus ?? null, deleteConfig: false };
}

/** Blobs are named by their digest, so programs share what they have in common. */
function placeOf(path: string): string {
  return join("/blobs", basename(path));
}

function moduleName(path: string): string {
  return basename(path);
}

/** Shared libraries of a program with the loader, as the loader itself finds them. */
function librariesOf(program: string): string[] {
  const lines = execFileSync("ldd", [program], { encoding: "utf8" }).split("\n");
  return lines.flatMap((line) => /(?:=> |^\s+)(\/\S+)/.exec(line)?.[1] ?? []);
}

function empty(): Content {
  return { kind: "text", text: "", mode: 0o644 };
}
