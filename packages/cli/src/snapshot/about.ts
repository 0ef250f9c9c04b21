/** What a snapshot notes about its run, so that it can be started again. */

import { sporeError } from "@spore/errors";
import { type Image, openImage, type RunOptions } from "@spore/image";
import type { JsonObject, SnapshotIdentity } from "@spore/monitor-client";

/** The notes of this version. */
export interface About {
  readonly format: 1;
  /** Where the image was, by which name. */
  readonly image: { readonly path: string; readonly name: string };
  /** What the run changed of the image's defaults. */
  readonly run: RunOptions;
}

/** The identity that goes into a snapshot of `image` run with `run`. */
export function identity(image: Image, run: RunOptions): SnapshotIdentity {
  const about: About = { format: 1, image: { path: image.path, name: image.name }, run };
  return {
    image: image.digest,
    kernel: image.kernel.sha256,
    about: JSON.parse(JSON.stringify(about)) as JsonObject,
  };
}

/** The notes of a snapshot. Throws SPORE_SNAPSHOT_FOREIGN. */
export function aboutOf(file: string, notes: JsonObject | null): About {
  const about = notes as unknown as About | null;
  if (about?.format !== 1 || typeof about.image?.path !== "string" || typeof about.run !== "object") {
    throw sporeError("SPORE_SNAPSHOT_FOREIGN", { file, problem: "it was not taken by `spore snapshot`" });
  }
  return about;
}

/**
 * The image a snapshot was taken of; that it is the very same is checked by the monitor.
 * Throws SPORE_SNAPSHOT_FOREIGN if it is not there any more.
 */
export async function imageOf(file: string, about: About): Promise<Image> {
  try {
    return await openImage(about.image.path);
  } catch (cause) {
    const problem = `its image ${about.image.path} cannot be used`;
    throw sporeError("SPORE_SNAPSHOT_FOREIGN", { file, problem }, { cause });
  }
}
