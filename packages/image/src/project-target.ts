/** Builds the image of a project directory. */

import { sporeError } from "@spore/errors";
import type { Inputs } from "./build-record.ts";
import type { ImageContent } from "./image-file.ts";
import type { ResolvedBuild } from "./resolved-build.ts";
import type { Decision } from "./types.ts";

/** Bundles the app and puts it over the Node layer. */
export async function buildProject(
  build: ResolvedBuild,
  _inputs: Inputs,
  _decisions: Decision[],
): Promise<ImageContent> {
  throw sporeError("SPORE_NO_ENTRY", { directory: build.target, problem: "directories cannot be built yet" });
}
