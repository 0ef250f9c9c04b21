/** Brings an image into the store: every byte checked, nothing written of one that is not sound. */

import { ErofsError, type ImageReader, openImage as openErofs } from "@spore/erofs";
import { explained, openImageSync } from "./image-file.ts";
import { storeBlobs, storeImage } from "./image-writer.ts";
import { layerSource } from "./layer-source.ts";
import { blobsOf, DocumentError } from "./oci.ts";
import { unpackKernel } from "./packed-kernel.ts";
import { prepareStore, type Store } from "./store.ts";
import type { Blob, BlobPlace, Image } from "./types.ts";

/** Files and folders of a layer, at most; the largest images have tens of thousands. */
const MOST_FILES = 4_000_000;
/** Folders within folders, at most. */
const DEEPEST = 128;

/** Copies an image into the store; gives it as it is there. */
export function importImage(image: Image, store: Store): Image {
  for (const layer of image.layers) checkLayer(image.path, layer);
  unpackKernel(image.kernel);
  prepareStore(store);
  storeBlobs(blobsOf(image), store);
  return openImageSync(storeImage(image, store), store);
}

/** Follows every table of a layer, as nothing that only runs it does. Throws SPORE_IMAGE_DAMAGED. */
export function checkLayer(path: string, layer: Blob & BlobPlace): void {
  explained(path, () => {
    const source = layerSource(layer);
    try {
      checkTree(openErofs(source), layer.name);
    } catch (error) {
      if (error instanceof ErofsError) throw new DocumentError(`layer ${layer.name}: ${error.message}`);
      throw error;
    } finally {
      source.close();
    }
  });
}

function checkTree(reader: ImageReader, name: string): void {
  let files = 0;
  for (const { path, stat } of reader.walk()) {
    if (++files > MOST_FILES) throw new DocumentError(`layer ${name} has more than ${MOST_FILES} files`);
    if (path.split("/").length > DEEPEST) throw new DocumentError(`layer ${name} is nested too deeply`);
    if (stat.type === "other") throw new DocumentError(`layer ${name}: ${path} is a device, pipe or socket`);
  }
}
