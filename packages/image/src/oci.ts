/**
 * The three JSON documents of an image and the checks when they are read:
 * index (which images a layout holds), manifest (which blobs an image is made
 * of) and configuration (what it says of itself, as OCI says it for any tool
 * and, in the member `spore`, as this project does).
 */

import { createHash } from "node:crypto";
import { isDestination } from "./destination.ts";
import { isRecord, type Schema, violation } from "./json-schema.ts";
import { MANIFEST_SCHEMA } from "./manifest-schema.ts";
import { BLOB_TYPES, CONFIG_TYPE, IMAGE_TYPE, INDEX_TYPE, MANIFEST_TYPE } from "./media-types.ts";
import { ARENA_VA, KERNEL_END, KERNEL_GPA, PAGE, USER_MIN } from "./memory-map.ts";
import type { Blob, ImageManifest, ProgramLayout } from "./types.ts";

/** What a layout's `oci-layout` says. */
export const LAYOUT_TEXT = '{"imageLayoutVersion":"1.0.0"}';
/** Documents beyond these lengths are refused unread. */
export const LIMITS: Readonly<Record<"index" | "manifest" | "config", number>> = {
  index: 4 << 20,
  manifest: 4 << 20,
  config: 64 << 20,
};

/** A blob as OCI names it. */
export interface Descriptor {
  readonly mediaType: string;
  /** `sha256:` and the digest. */
  readonly digest: string;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An OCI image manifest. */
export interface OciManifest {
  readonly schemaVersion: 2;
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A document that cannot be used: what is wrong with it, for people. */
export class DocumentError extends Error {}
/** It is sound, but of another kind or version. */
export class ForeignError extends DocumentError {}

/** The digest of a text's bytes, lower-case hex. */
export function sha256Of(bytes: string | Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Describes a text that becomes a blob. */
export function describe(mediaType: string, text: string): Descriptor {
  return { mediaType, digest: `sha256:${sha256Of(text)}`, size: Buffer.byteLength(text) };
}

/** Describes a blob of an image. */
export function describeBlob(blob: Blob): Descriptor {
  const { kind, name, sha256, length } = blob;
  const annotations = { "org.opencontainers.image.title": name };
  return { mediaType: BLOB_TYPES[kind], digest: `sha256:${sha256}`, size: length, annotations };
}

/** All blobs of an image, in the order in which its manifest and its file have them. */
export function blobsOf<T extends Blob>(image: {
  readonly kernel: T;
  readonly layers: readonly T[];
  readonly documents: readonly T[];
}): readonly T[] {
  return [image.kernel, ...image.layers, ...image.documents];
}

/** The configuration of an image as text; the same image gives the same text. */
export function configText(image: ImageManifest): string {
  return JSON.stringify({ ...forAnyTool(image), spore: inOrder(image) });
}

/** The OCI manifest of an image as text. */
export function manifestText(image: ImageManifest, config: Descriptor): string {
  const manifest: OciManifest = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    artifactType: IMAGE_TYPE,
    config,
    layers: blobsOf(image).map(describeBlob),
    annotations: { "org.opencontainers.image.title": image.name },
  };
  return JSON.stringify(manifest);
}

/** The index of a layout with these manifests. */
export function indexText(manifests: readonly Descriptor[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests });
}

/** Throws unless an `oci-layout` file says the version that is read here. */
export function checkLayoutVersion(text: string): void {
  checked(text, LAYOUT_SCHEMA);
}

/** Reads an index; gives the manifests it lists. */
export function parseIndex(text: string): readonly Descriptor[] {
  return checked<{ manifests: Descriptor[] }>(text, INDEX_SCHEMA).manifests;
}

/** Reads an OCI manifest. */
export function parseManifest(text: string): OciManifest {
  return checked<OciManifest>(text, OCI_MANIFEST_SCHEMA);
}

/** Reads a configuration: of the members, the others follow from `spore`. */
export function parseConfig(text: string): ImageManifest {
  const value = parseJson(text);
  if (!isRecord(value) || !isRecord(value["spore"])) throw new ForeignError("it is no image of Spore");
  const { spore } = value;
  if (spore["version"] !== 1) throw new ForeignError(`it has version ${JSON.stringify(spore["version"])}`);
  const problem = violation(spore, MANIFEST_SCHEMA);
  if (problem !== null) throw new DocumentError(problem);
  // Checked just now against the schema that the type is written after.
  const image = spore as unknown as ImageManifest;
  checkPlaces(image);
  // There is one way to write an image down, so nothing can be said beside or against the manifest.
  if (configText(image) !== text)
    throw new DocumentError("its configuration is not in the form it is written in");
  return image;
}

/** What OCI can say of an image. */
function forAnyTool(image: ImageManifest): Record<string, unknown> {
  const { defaults, user, stopSignal, rights } = image;
  const exposed = (rights.ports ?? []).map((port) => [`${port}/tcp`, {}]);
  return {
    architecture: "amd64",
    os: "linux",
    config: {
      User: `${user.uid}:${user.gid}`,
      ...(exposed.length > 0 && { ExposedPorts: Object.fromEntries(exposed) }),
      Env: Object.entries(defaults.env)
        .map(([name, text]) => `${name}=${text}`)
        .sort(),
      Entrypoint: defaults.argv,
      Cmd: defaults.args,
      WorkingDir: defaults.cwd,
      StopSignal: stopSignal,
    },
    rootfs: { type: "layers", diff_ids: blobsOf(image).map((blob) => describeBlob(blob).digest) },
  };
}

/** The manifest with its keys in a fixed order. */
function inOrder(image: ImageManifest): ImageManifest {
  const { kind, name, defaults, user, vcpus, stopSignal, health, rights, program } = image;
  const { argv, args, cwd, memory, publish } = defaults;
  const env = Object.fromEntries(
    Object.entries(defaults.env).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
  );
  return {
    version: 1,
    kind,
    name,
    defaults: { argv, args, env, cwd, memory, publish },
    user,
    vcpus,
    stopSignal,
    health,
    rights,
    kernel: blobFields(image.kernel),
    layers: image.layers.map(blobFields),
    documents: image.documents.map(blobFields),
    program,
  };
}

function blobFields(blob: Blob): Blob {
  const { kind, name, sha256, length, memoryLength, metadataLength, metadataSha256 } = blob;
  return { kind, name, sha256, length, memoryLength, metadataLength, metadataSha256 };
}

/** What no schema says: that everything lies inside of something else, and nothing on another. */
function checkPlaces(image: ImageManifest): void {
  const { kernel, program } = image;
  for (const blob of blobsOf(image)) {
    if (blob.metadataLength > blob.length) throw new DocumentError(`${blob.name} is shorter than its tables`);
  }
  if (kernel.memoryLength > KERNEL_END - KERNEL_GPA) throw new DocumentError("the kernel is too large");
  if (kernel.length > kernel.memoryLength) throw new DocumentError("the kernel is larger than in memory");
  const strange = image.rights.destinations?.find((each) => !isDestination(each));
  if (strange !== undefined) throw new DocumentError(`${JSON.stringify(strange)} is not a destination`);
  checkMappings(program);
  const inLayer = (layer: number, offset: number, length: number): boolean =>
    offset + length <= (image.layers[layer]?.length ?? -1);
  for (const { layer, offset, length } of program.shared) {
    if (!inLayer(layer, offset, length)) throw new DocumentError("a shared region lies outside its layer");
  }
  for (const { length: room, parts } of program.private) {
    for (const { layer, offset, length, at } of parts) {
      if (!inLayer(layer, offset, length)) throw new DocumentError("a copy lies outside its layer");
      if (at + length > room) throw new DocumentError("a copy lies outside its region");
    }
  }
  checkOverlaps(
    "regions",
    [...program.shared, ...program.private].map(({ va, length }) => [va, length]),
  );
  checkOverlaps(
    "frames",
    program.private.map(({ gpa, length }) => [gpa, length]),
  );
}

/** What is mapped lies where programs may be, and in frames that are there. */
function checkMappings({ mappings, brkStart, shared, private: regions }: ProgramLayout): void {
  const frames = [...shared, ...regions].sort((a, b) => a.va - b.va);
  for (const { va, length } of frames) {
    if (va < USER_MIN || va + length > ARENA_VA) {
      throw new DocumentError("a region lies where no program may be");
    }
  }
  for (const { start, end } of mappings) {
    const sound = start % PAGE === 0 && end % PAGE === 0 && start < end;
    if (!sound) throw new DocumentError("a mapping has an impossible place");
    let covered = start;
    for (const { va, length } of frames) {
      if (va <= covered && covered < va + length) covered = va + length;
    }
    if (covered < end) throw new DocumentError("a mapping has no frames behind it");
  }
  if (brkStart < USER_MIN || brkStart > ARENA_VA) throw new DocumentError("the heap has an impossible place");
  checkOverlaps(
    "mappings",
    mappings.map(({ start, end }) => [start, end - start]),
  );
}

function checkOverlaps(what: string, ranges: readonly (readonly [start: number, length: number])[]): void {
  let end = 0;
  for (const [start, length] of [...ranges].sort(([a], [b]) => a - b)) {
    if (start < end) throw new DocumentError(`${what} overlap`);
    end = start + length;
  }
}

function checked<T>(text: string, schema: Schema): T {
  const value = parseJson(text);
  const problem = violation(value, schema);
  if (problem !== null) throw new DocumentError(problem);
  return value as T;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new DocumentError("it is not JSON");
  }
}

const annotations: Schema = {
  type: "object",
  additionalProperties: { type: "string", maxLength: 65_536 },
  maxProperties: 256,
};

const descriptor: Schema = {
  type: "object",
  properties: {
    mediaType: { type: "string", maxLength: 255 },
    digest: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
    size: { type: "integer", minimum: 0 },
    artifactType: { type: "string", maxLength: 255 },
    annotations,
    urls: { type: "array", maxItems: 0 },
    data: { type: "string", maxLength: 4096 },
    platform: { type: "object" },
  },
  required: ["mediaType", "digest", "size"],
  additionalProperties: false,
};

const LAYOUT_SCHEMA: Schema = {
  type: "object",
  properties: { imageLayoutVersion: { const: "1.0.0" } },
  required: ["imageLayoutVersion"],
  additionalProperties: false,
};

const INDEX_SCHEMA: Schema = {
  type: "object",
  properties: {
    schemaVersion: { const: 2 },
    mediaType: { const: INDEX_TYPE },
    artifactType: { type: "string", maxLength: 255 },
    manifests: { type: "array", items: descriptor, maxItems: 1024 },
    annotations,
  },
  required: ["schemaVersion", "manifests"],
  additionalProperties: false,
};

const OCI_MANIFEST_SCHEMA: Schema = {
  type: "object",
  properties: {
    schemaVersion: { const: 2 },
    mediaType: { const: MANIFEST_TYPE },
    artifactType: { type: "string", maxLength: 255 },
    config: descriptor,
    layers: { type: "array", items: descriptor, maxItems: 256 },
    subject: descriptor,
    annotations,
  },
  required: ["schemaVersion", "config", "layers"],
  additionalProperties: false,
};

/** Throws unless a manifest is that of an image. */
export function checkImageType(manifest: OciManifest): void {
  if (manifest.artifactType !== IMAGE_TYPE) {
    throw new ForeignError(manifest.artifactType ?? "it is no image of Spore");
  }
  if (manifest.config.mediaType !== CONFIG_TYPE)
    throw new DocumentError("its configuration has another type");
}
