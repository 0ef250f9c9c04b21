/** The image that a word names where no flags are given with it: for looking at, not for running. */

import { buildImage, type Image } from "@spore/image";
import type { Context } from "../command.ts";
import { checkTarget } from "../run.ts";
import { noFlags, resolveSettings } from "./resolve.ts";

/** What `spore build TARGET` writes, and the library OS and files that `spore run TARGET` uses; built if need be. */
export async function imageOf(target: string, context: Context): Promise<Image> {
  checkTarget(target, context.cwd);
  const settings = await resolveSettings(target, noFlags, undefined, context.cwd);
  return (await buildImage({ ...settings.contents, ...settings.defaults })).image;
}
