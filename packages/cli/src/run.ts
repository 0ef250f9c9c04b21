/** What `spore run` does: build or reuse the image, then become the monitor. */

import { readFileSync, statSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { resolve } from "node:path";
import { isatty } from "node:tty";
import { SporeError, sporeError } from "@spore/errors";
import {
  type BuildResult,
  buildImage,
  defaultKernel,
  type Image,
  kernelSymbols,
  type LaunchPlan,
  launchPlan,
  type MorePieces,
  neverFrozen,
  type RunOptions,
  readable,
  withPieces,
} from "@spore/image";
import {
  becomeMonitor,
  checkKvm,
  type EventStyle,
  findMonitor,
  isSnapshot,
  type LaunchConfig,
  launchConfig,
} from "@spore/monitor-client";
import { root } from "./checkout.ts";
import type { Context } from "./command.ts";
import { explain } from "./explain.ts";
import { requestedRecord, type Watch } from "./launch-record.ts";
import { type ImageFlags, resolveSettings } from "./settings/resolve.ts";
import { identity } from "./snapshot/about.ts";

/** The flags of `spore run`, as the parser gives them. */
export interface RunFlags extends ImageFlags {
  readonly trace: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly gdb: number | undefined;
  readonly orders: string | undefined;
}

/** Carries out `spore run`. Returns only by throwing: the monitor takes the process over. */
export async function runTarget(
  invocation: {
    readonly options: RunFlags;
    readonly words: readonly string[];
    readonly rest: readonly string[] | undefined;
  },
  context: Context,
): Promise<never> {
  const { options: flags, words, rest } = invocation;
  const target = words[0] ?? ".";
  const record = requestedRecord(context);
  record?.path(resolve(context.cwd, target));
  checkTarget(target, context.cwd);
  // Before the build: what cannot run need not be built.
  const isFrozen = isSnapshot(resolve(context.cwd, target));
  checkKvm();
  if (isFrozen) {
    const { runSnapshot } = await import("./snapshot/run.ts");
    return await runSnapshot(target, { ...flags, args: rest }, record, context);
  }
  const monitor = findMonitor(root, context.env);
  const settings = await resolveSettings(target, flags, rest, context.cwd, record);
  const built = await buildImage(settings.contents);
  if (flags.explain) explain(built, settings.configFile, context);
  if (!built.reused && built.kind !== "image" && !flags.quiet && !flags.json) {
    context.err(`spore: built ${built.image.name} in ${(built.ms / 1000).toFixed(1)} s\n`);
  }
  await checkDirectory(built.image, settings.defaults.cwd);
  noteHostFiles(record);
  const run = withTerminal(settings.defaults, context);
  // An image that was built with less is run with more; what it holds stays as it is.
  const image = await withPieces(built.image, morePieces(built, flags), defaultKernel());
  if (flags.gdb !== undefined && !flags.quiet) {
    const symbols = kernelSymbols(image);
    if (symbols !== undefined)
      context.err(`spore: symbols of the library OS, for gdb: symbol-file ${symbols}\n`);
  }
  const plan = launchPlan(image, run);
  const config: LaunchConfig = {
    ...configOf(flags.orders === undefined ? neverFrozen(plan) : plan, built, flags),
    ...(flags.orders !== undefined && {
      orders: resolve(context.cwd, flags.orders),
      snapshot: identity(built.image, run),
    }),
  };
  // The words as they were given; what --explain prints is not in a record.
  if (!flags.explain) record?.keep(process.argv.slice(2), root, config, { ...built, image });
  // Node writes its compile cache when it exits, which it does not do here.
  flushCompileCache();
  return becomeMonitor(monitor, config);
}

/** What this run needs or leaves out, other than the image says. */
function morePieces({ kind }: BuildResult, { pieces, piece, without, trace, gdb }: RunFlags): MorePieces {
  if (kind === "image" && (pieces === "derived" || pieces === "recorded")) {
    const problem = `an image keeps the pieces that it was built with: --pieces ${pieces} is for \`spore build\``;
    throw sporeError("SPORE_USAGE", { problem, command: "run" });
  }
  const tools = [...(trace ? ["trace"] : []), ...(gdb === undefined ? [] : ["gdb"])];
  // A target that is built now has the rest already.
  const isImage = kind === "image";
  return {
    full: isImage && pieces === "full",
    pieces: [...(isImage ? piece : []), ...tools],
    without: isImage ? without : [],
  };
}

/** How events are told. */
export function eventStyle(flags: RunFlags): EventStyle {
  return flags.json ? "json" : flags.quiet ? "quiet" : "human";
}

/** Throws SPORE_TARGET_NOT_FOUND, or says why the target cannot be looked at. */
export function checkTarget(target: string, cwd: string): void {
  if (target === "") throw sporeError("SPORE_USAGE", { problem: "TARGET is empty", command: "run" });
  const found = readable(target, () => statSync(resolve(cwd, target), NO_ENTRY));
  if (!found) throw sporeError("SPORE_TARGET_NOT_FOUND", { target });
  // Opening a pipe would wait for its other end.
  if (!found.isFile() && !found.isDirectory()) {
    throw sporeError("SPORE_ELF_INVALID", { file: target, problem: "it is not a regular file" });
  }
}

const NO_ENTRY = { throwIfNoEntry: false } as const;

/** Throws SPORE_CWD_MISSING if somebody asked for a directory that is not there. */
async function checkDirectory(image: Image, path: string | undefined): Promise<void> {
  // The guest fills these itself.
  if (path === undefined || /^\/(dev|proc|sys)(\/|$)/.test(path)) return;
  const { viewImage } = await import("@spore/image/inside");
  const view = viewImage(image);
  try {
    if (view.find(path).stat.type === "directory") return;
  } catch (error) {
    if (!(error instanceof SporeError && error.code === "SPORE_IMAGE_PATH")) throw error;
  } finally {
    view.close();
  }
  throw sporeError("SPORE_CWD_MISSING", { path });
}

/** The files of the host whose text goes into the guest. */
function noteHostFiles(watch: Watch | null): void {
  for (const path of ["/etc/hosts", "/etc/resolv.conf"]) watch?.path(path);
}

/** A program at a terminal is told which terminal it is, as a shell would. */
function withTerminal(options: RunOptions, context: Context): RunOptions {
  const terminal = context.env["TERM"];
  if (terminal === undefined || !isatty(0)) return options;
  return { ...options, env: { TERM: terminal, ...options.env } };
}

function configOf(plan: LaunchPlan, built: BuildResult, flags: RunFlags): LaunchConfig {
  const { image, reused, ms } = built;
  return launchConfig(
    { ...plan, files: plan.files.map(withHostNames) },
    {
      events: eventStyle(flags),
      built: { event: "built", image: image.path, digest: image.digest, reused, ms },
      trace: flags.trace,
      gdb: flags.gdb ?? null,
      reporter: [process.execPath, resolve(import.meta.dirname, "main.ts"), "crash-report"],
    },
  );
}

/** Names that the host knows are known in the guest too; the guest's own come first. */
function withHostNames(file: LaunchPlan["files"][number]): LaunchPlan["files"][number] {
  if (file.path !== "/etc/hosts") return file;
  try {
    return { ...file, data: `${file.data}${readFileSync("/etc/hosts", "utf8")}` };
  } catch {
    // A host without a hosts file knows no more names.
    return file;
  }
}
