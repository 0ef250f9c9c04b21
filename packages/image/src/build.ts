/** Entry of the builder: resolve the target, reuse or build, open the image. */

import type { BuildOptions, BuildResult } from "./types.ts";

/** Builds the image of a target, or finds it unchanged in the store. */
export function buildImage(_options: BuildOptions): Promise<BuildResult> {
  throw new Error("not built yet");
}
