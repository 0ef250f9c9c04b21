/**
 * `@spore/image/store`: for those who keep images. Apart from the package's
 * index, so that a run does not load what it does not need.
 */

export { importImage } from "./image-import.ts";
export { imageDocuments } from "./image-writer.ts";
export { forgetImage, keepImage, keptImage } from "./kept-images.ts";
export {
  attachReferrer,
  detachReferrer,
  type Referrer,
  type ReferrerBlob,
  referrersOf,
} from "./referrers.ts";
export { prepareStore, type Store, storeAt } from "./store.ts";
export { partsOfImage, sweepStore } from "./store-sweep.ts";
