/**
 * What is said about an image after it was built, such as a snapshot of it: OCI
 * manifests whose `subject` is the image. The image itself never changes.
 */

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { writeWhole } from "./atomic-file.ts";
import { openLayout, readDocument } from "./blob-layout.ts";
import { explained } from "./image-file.ts";
import { storeText } from "./image-writer.ts";
import { EMPTY_TYPE, MANIFEST_TYPE } from "./media-types.ts";
import { type Descriptor, describe, LIMITS, type OciManifest, parseManifest } from "./oci.ts";
import { prepareStore, type Store } from "./store.ts";
import type { Image } from "./types.ts";

/** A file that is a blob of a referrer; it has to be in the store under its digest. */
export interface ReferrerBlob {
  readonly mediaType: string;
  /** Lower-case hex SHA-256. */
  readonly sha256: string;
  readonly length: number;
  /** What it holds, for people and programs: it is found by this name. */
  readonly name: string;
}

/** Something that refers to an image. */
export interface Referrer {
  /** Digest of its manifest, lower-case hex. */
  readonly digest: string;
  readonly artifactType: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly blobs: readonly (ReferrerBlob & { readonly path: string })[];
}

/** OCI's empty configuration. */
const EMPTY = "{}";
const TITLE = "org.opencontainers.image.title";

/** Attaches blobs of the store to an image of the store; the same again changes nothing. */
export function attachReferrer(
  image: Pick<Image, "digest">,
  artifactType: string,
  blobs: readonly ReferrerBlob[],
  annotations: Readonly<Record<string, string>>,
  store: Store,
): Referrer {
  prepareStore(store);
  const subject = openLayout(join(store.blobs, image.digest)).manifest;
  if (subject === null) throw new Error("the image is not in the store");
  const manifest: OciManifest = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    artifactType,
    config: describe(EMPTY_TYPE, EMPTY),
    layers: blobs.map(descriptorOf),
    subject,
    annotations,
  };
  storeText(EMPTY, store);
  const path = storeText(JSON.stringify(manifest), store);
  const digest = path.slice(-64);
  mkdirSync(join(store.referrers, image.digest), { recursive: true });
  writeWhole(join(store.referrers, image.digest, digest), store.tmp, "");
  return referrerOf(digest, manifest, store);
}

/** What refers to an image, of one kind or of all; the order is that of the digests. */
export function referrersOf(digest: string, store: Store, artifactType?: string): readonly Referrer[] {
  let names: string[];
  try {
    names = readdirSync(join(store.referrers, digest)).sort();
  } catch {
    return [];
  }
  const all = names.map((name) => {
    const path = join(store.blobs, name);
    return explained(path, () => {
      const layout = openLayout(path);
      const descriptor = layout.manifest ?? { mediaType: "", digest: `sha256:${name}`, size: 0 };
      return referrerOf(name, parseManifest(readDocument(layout, descriptor, LIMITS.manifest)), store);
    });
  });
  return artifactType === undefined ? all : all.filter((each) => each.artifactType === artifactType);
}

/** Takes a referrer away; its blobs go when the store is swept. */
export function detachReferrer(image: string, digest: string, store: Store): void {
  rmSync(join(store.referrers, image, digest), { force: true });
}

function referrerOf(digest: string, manifest: OciManifest, store: Store): Referrer {
  return {
    digest,
    artifactType: manifest.artifactType ?? "",
    annotations: manifest.annotations ?? {},
    blobs: manifest.layers.map((layer) => {
      const sha256 = layer.digest.slice("sha256:".length);
      const { mediaType, size: length, annotations = {} } = layer;
      return { mediaType, sha256, length, name: annotations[TITLE] ?? "", path: join(store.blobs, sha256) };
    }),
  };
}

function descriptorOf({ mediaType, sha256, length, name }: ReferrerBlob): Descriptor {
  return { mediaType, digest: `sha256:${sha256}`, size: length, annotations: { [TITLE]: name } };
}
