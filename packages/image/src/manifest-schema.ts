/**
 * What an image says of itself, as the JSON Schema that is published
 * (docs/reference/image-manifest.schema.json) and that every image is checked
 * against when it is opened. `ImageManifest` in types.ts is the same for the compiler.
 */

import type { Schema } from "./json-schema.ts";
import { HUGE, MAX_RAM } from "./memory-map.ts";

/** Signals that can ask a program to stop, by name. */
export const STOP_SIGNALS = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;
/** What of the machine a program may be given. */
export const DEVICES = ["console", "network"] as const;
/** A destination: an address, a range or a name, and the port if only one is meant (destination.ts is exact). */
const DESTINATION = "^(\\[[0-9a-fA-F:.]+(/\\d{1,3})?\\]|[A-Za-z0-9_.*-]+(/\\d{1,2})?)(:\\d{1,5})?$";

/** More layers, mappings or arguments than this no builder writes. */
const MANY = 65_536;
const LONGEST_PATH = 4096;

const text = (description: string, more: Schema = {}): Schema => ({
  description,
  type: "string",
  maxLength: 131_072,
  ...more,
});
const count = (description: string, more: Schema = {}): Schema => ({
  description,
  type: "integer",
  minimum: 0,
  ...more,
});
const frames = (description: string): Schema => count(description, { multipleOf: HUGE });
const list = (description: string, items: Schema, maxItems: number = MANY): Schema => ({
  description,
  type: "array",
  items,
  maxItems,
});
const record = (
  description: string,
  properties: Readonly<Record<string, Schema>>,
  optional: Readonly<Record<string, Schema>> = {},
): Schema => ({
  description,
  type: "object",
  properties: { ...properties, ...optional },
  required: Object.keys(properties),
  additionalProperties: false,
});
const orNull = (description: string, schema: Schema): Schema => ({
  description,
  anyOf: [{ type: "null" }, schema],
});

const sha256: Schema = text("SHA-256, lower-case hexadecimal", { pattern: "^[0-9a-f]{64}$", maxLength: 64 });
const guestPath: Schema = text("Absolute path in the guest", {
  pattern: "^/[^\\u0000]*$",
  maxLength: LONGEST_PATH,
});
const port: Schema = count("TCP port", { minimum: 1, maximum: 65_535 });

const blob = (kind: string): Schema =>
  record(`A ${kind}: one blob`, {
    kind: { const: kind },
    name: text("What it holds, for people", { maxLength: 256 }),
    sha256,
    length: count("Bytes", { minimum: 1, maximum: 2 ** 40 }),
    memoryLength: count("Kernel: bytes in memory, bss included; otherwise 0"),
    metadataLength: count("Leading bytes that metadataSha256 covers, checked at every start"),
    metadataSha256: sha256,
  });

const publication: Schema = record(
  "A port of the guest at an address of the host",
  {
    address: text("Address of the host", { pattern: "^[0-9a-fA-F.:]+$", maxLength: 45 }),
    host: count("Port of the host; 0: any free one", { maximum: 65_535 }),
    guest: port,
  },
  { protocol: { description: "Protocol; without one, TCP", const: "udp" } },
);

const health: Schema = record("How to find out that the app is well", {
  path: text("Path of an HTTP GET request; an answer below 400 is well", {
    pattern: "^/[!-~]*$",
    maxLength: 2048,
  }),
  port: orNull("Port to ask; null: the first that the app listens on", port),
  intervalMs: count("From one request to the next", { minimum: 100 }),
  timeoutMs: count("An answer that takes longer counts as a failure", { minimum: 10 }),
  failures: count("So many failures in a row mean that the app is not well", { minimum: 1, maximum: 1000 }),
});

const defaults: Schema = record("What a run uses unless it says otherwise", {
  argv: { ...list("Program name and the arguments before those of a run", text("Argument")), minItems: 1 },
  args: list("Arguments that a run replaces with its own", text("Argument")),
  env: {
    description: "Environment",
    type: "object",
    additionalProperties: text("Value"),
    maxProperties: MANY,
  },
  cwd: guestPath,
  memory: count("Bytes of memory", { minimum: 1, maximum: MAX_RAM }),
  publish: orNull(
    "Published ports; null: every port that may be published, at the same port of 127.0.0.1",
    list("Publications", publication, 1024),
  ),
});

const rights: Schema = record("What of the host it may use; the monitor refuses everything else", {
  devices: {
    ...list("Devices", { enum: DEVICES }, DEVICES.length),
    uniqueItems: true,
  },
  ports: orNull("Ports that may be published; null: all", {
    ...list("Ports", port, 1024),
    uniqueItems: true,
  }),
  destinations: orNull(
    "Where it may connect to; null: everywhere that the host lets it. A name stands for what the resolver answers",
    {
      ...list("Destinations", text("Destination", { pattern: DESTINATION, maxLength: 300 }), 1024),
      uniqueItems: true,
    },
  ),
  volumes: list("Folders of the host: there are none in version 1", guestPath, 0),
});

const program: Schema = record("The program as it stands in memory at its first instruction", {
  path: guestPath,
  startRip: count("First instruction"),
  entry: count("AT_ENTRY"),
  phdr: count("AT_PHDR"),
  phnum: count("AT_PHNUM", { maximum: 65_535 }),
  interpBase: count("AT_BASE; 0 without an interpreter"),
  brkStart: count("Start of the heap"),
  mappings: list(
    "Mappings",
    record("A mapping", {
      start: count("First address"),
      end: count("End, exclusive"),
      prot: count("PROT_ bits", { maximum: 7 }),
      fileOffset: count("Offset in the file"),
      path: text('File; "" for anonymous memory', { maxLength: LONGEST_PATH }),
    }),
  ),
  shared: list(
    "Frames that are mapped from a layer",
    record("A region", {
      va: frames("Address"),
      layer: count("Index of the layer"),
      offset: frames("Offset in the layer"),
      length: frames("Bytes"),
    }),
  ),
  private: list(
    "Frames of guest memory with what is copied into them",
    record("A region", {
      va: frames("Address"),
      gpa: frames("Guest-physical address"),
      length: frames("Bytes"),
      parts: list(
        "Copies",
        record("A copy", {
          layer: count("Index of the layer"),
          offset: count("Offset in the layer"),
          length: count("Bytes"),
          at: count("Offset in the region"),
        }),
      ),
    }),
  ),
});

/** The schema of the `spore` member of an image's configuration. */
export const MANIFEST_SCHEMA: Schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Spore image manifest, version 1",
  ...record("What a Spore image says of itself: the member `spore` of its OCI configuration", {
    version: { description: "Version of this format", const: 1 },
    kind: { description: "What it was built from", enum: ["project", "program"] },
    name: text("Short name for people", { maxLength: 256 }),
    defaults,
    user: record("Whom the program runs as", {
      uid: count("User", { maximum: 0xffff_fffe }),
      gid: count("Group", { maximum: 0xffff_fffe }),
    }),
    vcpus: { description: "Processors", const: 1 },
    stopSignal: { description: "The signal that asks it to stop", enum: STOP_SIGNALS },
    health: orNull("Health check, if it has one", health),
    rights,
    kernel: blob("kernel"),
    layers: list("File-system layers, bottom first", blob("layer"), 64),
    documents: list("Further blobs that describe the image", blob("document"), 64),
    program,
  }),
};
