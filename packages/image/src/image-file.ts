/**
 * Opening an image: an OCI image layout with one image in it, as a directory,
 * as one tar file, or among the blobs of the store (image-writer.ts writes them).
 *
 * Every document is checked against its digest and its schema, every layer's
 * tables and the whole kernel against theirs, so that no damaged structure is
 * ever followed. File contents are not read at a start; the layer's own digest
 * covers them, and `importImage` checks it.
 */

import { resolve } from "node:path";
import { sporeError } from "@spore/errors";
import {
  alignmentOf,
  blobName,
  folderLayout,
  type Layout,
  openLayout,
  readDocument,
  readExactly,
  readIndex,
} from "./blob-layout.ts";
import { MANIFEST_TYPE } from "./media-types.ts";
import {
  blobsOf,
  checkImageType,
  type Descriptor,
  DocumentError,
  ForeignError,
  LIMITS,
  manifestText,
  type OciManifest,
  parseConfig,
  parseIndex,
  parseManifest,
  sha256Of,
} from "./oci.ts";
import { defaultStore, type Store, storeAt } from "./store.ts";
import type { Blob, BlobPlace, Image, ImageManifest } from "./types.ts";

/** What goes into an image, and where its blobs are now. */
export type ImageContent = Omit<Image, "path" | "digest">;

/** Opens and verifies an image; blobs that the store has as well are taken from there. */
export async function openImage(path: string, options: { readonly store?: string } = {}): Promise<Image> {
  return openImageSync(resolve(path), storeAt(options.store ?? defaultStore()));
}

/** `openImage` for those who have a store at hand. */
export function openImageSync(path: string, store: Store): Image {
  return explained(path, () => {
    const layout = openLayout(path);
    const { descriptor, manifest, text } = findImage(layout);
    const image = parseConfig(readDocument(layout, manifest.config, LIMITS.config));
    if (manifestText(image, manifest.config) !== text) {
      throw new DocumentError("manifest and configuration do not name the same things");
    }
    return { ...located(image, layout, store), path, digest: descriptor.digest.slice("sha256:".length) };
  });
}

/** True if the monitor can map every blob where it lies. */
export function isMappable(image: Image): boolean {
  return blobsOf(image).every((blob) => blob.offset % alignmentOf(blob) === 0);
}

/** Turns what is wrong with a document into the error that names the file. */
export function explained<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof ForeignError) {
      throw sporeError("SPORE_IMAGE_FORMAT", { file: path, found: error.message }, { cause: error });
    }
    if (error instanceof DocumentError) throw damaged(path, error.message, error);
    throw error;
  }
}

/** The error of a part that is not what it was. */
export function damaged(file: string, problem: string, cause?: unknown): Error {
  return sporeError("SPORE_IMAGE_DAMAGED", { file, problem }, { cause });
}

/** A manifest of a layout. */
interface FoundManifest {
  readonly descriptor: Descriptor;
  readonly manifest: OciManifest;
  readonly text: string;
}

/** The one image of a layout; what refers to it (a snapshot) is none. */
function findImage(layout: Layout): FoundManifest {
  const read = (descriptor: Descriptor): FoundManifest => {
    const text = readDocument(layout, descriptor, LIMITS.manifest);
    return { descriptor, manifest: parseManifest(text), text };
  };
  if (layout.manifest !== null) {
    const found = read(layout.manifest);
    checkImageType(found.manifest);
    return found;
  }
  const listed = parseIndex(readIndex(layout)).filter(({ mediaType }) => mediaType === MANIFEST_TYPE);
  const images = listed.map(read).filter(({ manifest }) => manifest.subject === undefined);
  const [found, more] = images;
  if (!found) throw new ForeignError("it holds no image");
  if (more) throw new ForeignError("it holds more than one image");
  checkImageType(found.manifest);
  return found;
}

function located(image: ImageManifest, layout: Layout, store: Store): ImageContent {
  const find = (blob: Blob): Blob & BlobPlace => locate(blob, layout, store);
  return {
    ...image,
    kernel: find(image.kernel),
    layers: image.layers.map(find),
    documents: image.documents.map(find),
  };
}

/** Finds a blob and checks its tables. One copy serves all images: the store's, if it has one. */
function locate(blob: Blob, layout: Layout, store: Store): Blob & BlobPlace {
  const name = blobName(`sha256:${blob.sha256}`);
  let problem: unknown = new DocumentError(`${blob.kind} ${blob.name} is not there`);
  for (const files of [folderLayout(store.root, store.root, null), layout]) {
    const found = files.find(name);
    if (found === null) continue;
    const { path, offset, size } = found;
    try {
      if (size !== blob.length) throw new DocumentError(`${blob.kind} ${blob.name} has another length`);
      checkMetadata(blob, { path, offset });
      return { ...blob, path, offset };
    } catch (error) {
      problem = error;
    }
  }
  throw problem;
}

function checkMetadata(blob: Blob, place: BlobPlace): void {
  const label = `${blob.kind} ${blob.name}`;
  const bytes = readExactly(place, blob.metadataLength, label);
  if (sha256Of(bytes) !== blob.metadataSha256) throw new DocumentError(`${label} has changed`);
}
