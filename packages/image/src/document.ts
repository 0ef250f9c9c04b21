/** JSON documents that travel with an image, each found by its name. */

import { readExactly } from "./blob-layout.ts";
import { damaged } from "./image-file.ts";
import { sha256Of } from "./oci.ts";
import type { Image } from "./types.ts";

/** Name of the document that says what the app needs of the library OS, and who asks. */
export const NEEDS_DOCUMENT = "needs";

/** Name of the document that says how large each piece of the library OS is. */
export const PIECES_DOCUMENT = "pieces";

/** The document of that name, or undefined; throws SPORE_IMAGE_DAMAGED if its bytes have changed. */
export function readDocumentOf(image: Image, name: string): unknown {
  const blob = image.documents.find((document) => document.name === name);
  if (!blob) return undefined;
  const bytes = readExactly(blob, blob.length, name);
  if (sha256Of(bytes) !== blob.sha256) throw damaged(blob.path, `the document ${name} has changed`);
  return JSON.parse(bytes.toString("utf8"));
}
