/** What `spore build` does. */

import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import { type BuildOptions, buildImage, writeImageFile } from "@spore/image";
import type { Context } from "./command.ts";
import { explain } from "./explain.ts";
import { checkTarget } from "./run.ts";
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
  checkTarget(target, context.cwd);
  const settings = await resolveSettings(target, flags, rest, context.cwd);
  const output = resolve(context.cwd, flags.output);
  const options = { ...settings.contents, ...settings.defaults };
  const built = await buildImage(
    flags.record === undefined
      ? options
      : await withRecording(options, flags.record, output, settings, context),
  );
  if (flags.explain) explain(built, settings.configFile, context);
  await writeImageFile(built.image, output);
  return 0;
}

/** Records what the app uses while `command` exercises it; what is built next has just that. */
async function withRecording(
  options: BuildOptions,
  command: string,
  output: string,
  settings: Settings,
  context: Context,
): Promise<BuildOptions> {
  const { FULL, keepRecording, record, recordingPath } = await import("./record.ts");
  const { image } = await buildImage({ ...options, ...FULL });
  const recording = await record(image, settings.defaults, command, context);
  const path = recordingPath(resolve(context.cwd, options.target), output);
  keepRecording(recording, path);
  context.err(`spore: recorded ${Object.keys(recording.calls).length} system calls in ${path}\n`);
  return { ...options, recording };
}
