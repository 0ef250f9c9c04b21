/** What `spore build` does. */

import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import { buildImage, writeImageFile } from "@spore/image";
import type { Context } from "./command.ts";
import { explain } from "./explain.ts";
import { checkTarget } from "./run.ts";
import { type ImageFlags, resolveSettings } from "./settings/resolve.ts";

/** The flags of `spore build`, as the parser gives them. */
export interface BuildFlags extends ImageFlags {
  readonly output: string | undefined;
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
  const built = await buildImage({ ...settings.contents, ...settings.defaults });
  if (flags.explain) explain(built, settings.configFile, context);
  await writeImageFile(built.image, resolve(context.cwd, flags.output));
  return 0;
}
