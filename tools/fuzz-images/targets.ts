/** What hostile bytes are given to, and what must hold whatever they are. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { SporeError } from "../../packages/errors/src/index.ts";
import { copyOut } from "../../packages/image/src/image-copy.ts";
import { openImageSync } from "../../packages/image/src/image-file.ts";
import { importImage } from "../../packages/image/src/image-import.ts";
import { viewImage } from "../../packages/image/src/image-view.ts";
import { launchPlan } from "../../packages/image/src/launch.ts";
import { storeAt } from "../../packages/image/src/store.ts";
import type { ImageManifest } from "../../packages/image/src/types.ts";
import { baseLayer, sealed, withFile } from "./base-image.ts";
import { mutated, mutatedValue, type Random } from "./mutations.ts";

/** Makes hostile bytes from chance. */
export const generators: Readonly<
  Record<string, (random: Random, corpus: readonly Uint8Array[]) => Uint8Array>
> = {
  archive: (random, corpus) => mutated(corpus[random(corpus.length)] ?? sealed(), random),
  manifest: (random) => sealed({ change: (image: ImageManifest) => mutatedValue(image, random) }),
  layer: (random) => {
    const layer = Buffer.from(baseLayer());
    layer.writeUInt32LE(layer.readUInt32LE(1024 + 8) & ~1, 1024 + 8);
    const tables = mutated(layer.subarray(1024, 4096), random);
    return sealed({ layer: Buffer.concat([layer.subarray(0, 1024), tables, layer.subarray(4096)]) });
  },
};

/** How an input ended: the codes of the errors that it met, or "accepted". */
export interface Outcome {
  readonly open: string;
  readonly launch: string;
  readonly copy: string;
  readonly import: string;
}

/** Does with an image all that does not run it. Throws if something else than an error with a code comes out, or something is left behind. */
export function digest(bytes: Uint8Array): Outcome {
  return withFile(bytes, (file, folder) => {
    const store = storeAt(join(folder, "store"));
    const opened = attempt(() => openImageSync(file, store));
    if (typeof opened === "string") return { open: opened, launch: opened, copy: opened, import: opened };
    const launch = attempt(() => launchPlan(opened));
    const out = join(folder, "out");
    const copied = attempt(() => {
      const view = viewImage(opened);
      try {
        return copyOut(opened, view, "/", out);
      } finally {
        view.close();
      }
    });
    if (typeof copied === "string" && existsSync(out)) throw new Error("a copy that failed is there");
    const imported = attempt(() => importImage(opened, store));
    const blobs = existsSync(store.blobs) ? readdirSync(store.blobs) : [];
    if (typeof imported === "string" && blobs.length > 0) throw new Error("a refused image is in the store");
    const left = readdirSync(folder).filter((name) => !["image", "out", "store"].includes(name));
    if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
    return { open: "accepted", launch: codeOf(launch), copy: codeOf(copied), import: codeOf(imported) };
  });
}

/** The result, or the code of the error. */
function attempt<T extends object>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    if (error instanceof SporeError && error.code !== "SPORE_INTERNAL") return error.code;
    throw error;
  }
}

function codeOf(result: object | string): string {
  return typeof result === "string" ? result : "accepted";
}
