/**
 * JSON documents that travel with an image, each found by its name. They are packed: who asked for what is
 * said in the same words again and again, and an image should weigh what its app weighs. (Brotli, because
 * the same text gives the same bytes on every processor, which the zlib of Node.js does not promise.)
 */

import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";

import type { Needs } from "@spore/needs";
import { readExactly } from "./blob-layout.ts";
import { NEEDS_SCHEMA, PIECES_SCHEMA } from "./document-schema.ts";
import { damaged } from "./image-file.ts";
import { type Schema, violation } from "./json-schema.ts";
import { sha256Of } from "./oci.ts";
import type { Image, Piece } from "./types.ts";

/** Name of the document that says what the app needs of the library OS, and who asks. */
export const NEEDS_DOCUMENT = "needs";

/** Name of the document that says how large each piece of the library OS is. */
export const PIECES_DOCUMENT = "pieces";

/** Takes a few milliseconds for the largest. */
const QUALITY = 5;
/** No builder writes more; a small file may claim to unpack to anything. */
const LARGEST: number = 64 << 20;

/** What an app needs of the library OS, and who asks; undefined: the image does not say. Throws SPORE_IMAGE_DAMAGED. */
export function needsOf(image: Image): Needs | undefined {
  return documentOf(image, NEEDS_DOCUMENT, NEEDS_SCHEMA) as Needs | undefined;
}

/** What each piece of the library OS brought; undefined: the image does not say. Throws SPORE_IMAGE_DAMAGED. */
export function piecesOf(image: Image): readonly Piece[] | undefined {
  return documentOf(image, PIECES_DOCUMENT, PIECES_SCHEMA) as readonly Piece[] | undefined;
}

/** The document of that name, checked. */
function documentOf(image: Image, name: string, schema: Schema): unknown {
  const blob = image.documents.find((document) => document.name === name);
  if (!blob) return undefined;
  const bytes = readExactly(blob, blob.length, name);
  if (sha256Of(bytes) !== blob.sha256) throw damaged(blob.path, `the document ${name} has changed`);
  const value = unpacked(bytes, blob.path, name);
  const problem = violation(value, schema);
  if (problem !== null) throw damaged(blob.path, `the document ${name} cannot be used: ${problem}`);
  return value;
}

/** A document as it is kept; the same value gives the same bytes. */
export function packed(value: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(value));
  const params = {
    [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
    [constants.BROTLI_PARAM_QUALITY]: QUALITY,
    [constants.BROTLI_PARAM_SIZE_HINT]: text.length,
  };
  return brotliCompressSync(text, { params });
}

function unpacked(bytes: Uint8Array, path: string, name: string): unknown {
  try {
    return JSON.parse(brotliDecompressSync(bytes, { maxOutputLength: LARGEST }).toString("utf8"));
  } catch (error) {
    throw damaged(path, `the document ${name} cannot be read`, error);
  }
}
