/** What `spore build` does. */

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import { type BuildOptions, buildImage, writeImageDirectory, writeImageFile } from "@spore/image";
import type { Context } from "./command.ts";
import { explain } from "./explain.ts";
import { checkTarget } from "./run.ts";
import { recordingPath } from "./settings/recording.ts";
import { type ImageFlags, resolveSettings, type Settings } from "./settings/resolve.ts";

/** The flags of `spore build`, as the parser gives them. */
export interface BuildFlags extends ImageFlags {
  readonly output: string | undefined;
  readonly record: string | undefined;
}

/** Carries out `spore build`. */
export async function buildTarget(
  invocation: {
    readonly options: BuildFlags;
    readonly words: readonly string[];
    readonly rest: readonly string[] | undefined;
  },
  context: Context,
): Promise<number> {
  const { options: flags, words, rest } = invocation;
  const target = words[0] ?? ".";
  if (flags.output === undefined) {
    throw sporeError("SPORE_USAGE", { problem: "--output FILE is missing", command: "build" });
  }
  if (flags.record !== undefined && flags.pieces !== undefined && flags.pieces !== "recorded") {
    const problem = `--record decides which pieces there are, and so does --pieces ${flags.pieces}`;
    throw sporeError("SPORE_USAGE", { problem, command: "build" });
  }
  checkTarget(target, context.cwd);
  const output = resolve(context.cwd, flags.output);
  if (output === resolve(context.cwd, target)) {
    throw sporeError("SPORE_USAGE", { problem: "--output would replace TARGET itself", command: "build" });
  }
  const recording = recordingPath(resolve(context.cwd, target), flags.recording, output);
  // Whatever the app does must be there while it is recorded, and what counts it.
  const pieces = flags.record === undefined ? flags.pieces : "full";
  const settings = await resolveSettings(target, { ...flags, pieces, recording }, rest, context.cwd);
  const options = { ...settings.contents, ...settings.defaults };
  const built = await buildImage(
    flags.record === undefined || recording === undefined
      ? options
      : await withRecording(
          options,
          flags.record,
          resolve(context.cwd, recording),
          settings.defaults,
          context,
        ),
  );
  if (flags.explain) explain(built, settings.configFile, context);
  // As cp(1) takes it.
  const isFolder = /\/$/.test(flags.output) || statSync(output, { throwIfNoEntry: false })?.isDirectory();
  if (isFolder === true) await writeImageDirectory(built.image, output);
  else await writeImageFile(built.image, output);
  return 0;
}

/** Records what the app uses while `command` exercises it; what is built next has just that. */
async function withRecording(
  options: BuildOptions,
  command: string,
  path: string,
  defaults: Settings["defaults"],
  context: Context,
): Promise<BuildOptions> {
  const { keepRecording, record } = await import("./record.ts");
  const { image } = await buildImage(options);
  const recording = await record(image, defaults, command, context);
  keepRecording(recording, path);
  context.err(`spore: recorded ${Object.keys(recording.calls).length} system calls in ${path}\n`);
  return { ...options, pieces: "recorded", recording };
}
