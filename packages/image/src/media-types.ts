/** The names under which the parts of an image travel: OCI's own, and those of this project. */

/** An image, and anything that refers to one, is an OCI image manifest. */
export const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
/** The list of manifests in a layout. */
export const INDEX_TYPE = "application/vnd.oci.image.index.v1+json";
/**
 * The configuration keeps OCI's type, since tools refuse to look into any other
 * (`skopeo inspect`); the artifact type says that no container engine can run it.
 */
export const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
/** An image of this project, version 1. */
export const IMAGE_TYPE = "application/vnd.spore.image.v1";
/** What OCI puts where an artifact has no configuration. */
export const EMPTY_TYPE = "application/vnd.oci.empty.v1+json";

/** Media types of blobs by what they hold. */
export const BLOB_TYPES = {
  kernel: "application/vnd.spore.kernel.v1+zstd",
  layer: "application/vnd.spore.layer.v1.erofs",
  document: "application/vnd.spore.document.v1+brotli",
} as const;
