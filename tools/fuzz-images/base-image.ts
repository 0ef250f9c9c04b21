/** A small sound image, and images that are sound but for one thing: what hostile input is made from. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { planImage, type TreeEntry } from "../../packages/erofs/src/index.ts";
import { CONFIG_TYPE, MANIFEST_TYPE } from "../../packages/image/src/media-types.ts";
import {
  configText,
  type Descriptor,
  describe,
  indexText,
  manifestText,
  sha256Of,
} from "../../packages/image/src/oci.ts";
import { packKernel } from "../../packages/image/src/packed-kernel.ts";
import { tarHeader } from "../../packages/image/src/tar.ts";
import type { Blob, ImageManifest } from "../../packages/image/src/types.ts";

/** Files of an archive, in order. */
export type Files = readonly (readonly [name: string, bytes: string | Uint8Array])[];

/** What an image is made of; each part can be replaced by a hostile one. */
export interface Parts {
  readonly layer?: Uint8Array;
  readonly kernel?: Uint8Array;
  /** Changes what the image says of itself. */
  readonly change?: (image: ImageManifest) => unknown;
  /** Changes the text of the configuration, whatever it says. */
  readonly config?: (text: string) => string;
  readonly manifest?: (text: string) => string;
  readonly index?: (text: string) => string;
  readonly files?: (files: Files) => Files;
}

/** Length of the small image's kernel in memory. */
export const KERNEL_LENGTH = 4096;
const KERNEL: Uint8Array = packKernel(new Uint8Array(KERNEL_LENGTH).fill(0x90));
const encoder = new TextEncoder();

/** The layer of the small image: a program, a folder, a link. */
export function baseLayer(): Uint8Array {
  const file = (path: string, length: number): TreeEntry => ({
    type: "file",
    path,
    mode: 0o644,
    content: [new Uint8Array(length).fill(0x61)],
  });
  const plan = planImage([
    file("/aa", 4_097),
    file("/bb", 100),
    { type: "directory", path: "/sub", mode: 0o755 },
    file("/sub/cc", 0),
    { type: "symlink", path: "/link", target: "sub/cc" },
  ]);
  const bytes = new Uint8Array(plan.size);
  plan.write((offset, piece) => bytes.set(piece, offset));
  return bytes;
}

/** What the small image says of itself. */
export function baseManifest(layer: Uint8Array, kernel: Uint8Array = KERNEL): ImageManifest {
  const blob = (kind: Blob["kind"], name: string, bytes: Uint8Array, metadataLength: number): Blob => ({
    kind,
    name,
    sha256: sha256Of(bytes),
    length: bytes.length,
    memoryLength: kind === "kernel" ? KERNEL_LENGTH : 0,
    metadataLength,
    metadataSha256: sha256Of(bytes.subarray(0, metadataLength)),
  });
  return {
    version: 1,
    kind: "program",
    name: "small",
    defaults: { argv: ["/aa"], args: [], env: { A: "1" }, cwd: "/", memory: 64 << 20, publish: null },
    user: { uid: 0, gid: 0 },
    vcpus: 1,
    stopSignal: "SIGTERM",
    health: null,
    rights: { devices: ["console", "network"], ports: null, destinations: null, volumes: [] },
    kernel: blob("kernel", "kernel", kernel, kernel.length),
    layers: [blob("layer", "small", layer, Math.min(4096, layer.length))],
    documents: [],
    program: {
      path: "/aa",
      startRip: 0x40_0000,
      entry: 0x40_0000,
      phdr: 0x40_0040,
      phnum: 1,
      interpBase: 0,
      brkStart: 0x60_0000,
      mappings: [{ start: 0x40_0000, end: 0x40_2000, prot: 5, fileOffset: 0, path: "/aa" }],
      shared: [],
      private: [
        {
          va: 0x40_0000,
          gpa: 0x80_0000,
          length: 0x20_0000,
          parts: [{ layer: 0, offset: 4096, length: 4096, at: 0 }],
        },
      ],
    },
  };
}

/** An archive of an image; with digests that fit what is in it, however hostile that is. */
export function sealed(parts: Parts = {}): Uint8Array {
  const layer = parts.layer ?? baseLayer();
  const kernel = parts.kernel ?? KERNEL;
  const base = baseManifest(layer, kernel);
  const image = parts.change ? (parts.change(structuredClone(base)) as ImageManifest) : base;
  const written = parts.config ? parts.config(textOf(image)) : textOf(image);
  const config = describe(CONFIG_TYPE, written);
  const manifest = (parts.manifest ?? ((text) => text))(manifestOf(image, base, config));
  const index = (parts.index ?? ((text) => text))(indexText([describe(MANIFEST_TYPE, manifest)]));
  const blob = (bytes: string | Uint8Array): readonly [string, string | Uint8Array] => [
    `blobs/sha256/${sha256Of(bytes)}`,
    bytes,
  ];
  const files: Files = [
    ["oci-layout", '{"imageLayoutVersion":"1.0.0"}'],
    ["index.json", index],
    blob(manifest),
    blob(written),
    blob(kernel),
    blob(layer),
  ];
  return archive(parts.files ? parts.files(files) : files);
}

/** The configuration in its one form where that can be had, else as it is. */
function textOf(image: ImageManifest): string {
  try {
    return configText(image);
  } catch {
    return JSON.stringify({ spore: image });
  }
}

/** The OCI manifest of an image, or of another where it is too strange to have one. */
function manifestOf(image: ImageManifest, otherwise: ImageManifest, config: Descriptor): string {
  try {
    return manifestText(image, config);
  } catch {
    return manifestText(otherwise, config);
  }
}

/** Files as an archive. */
export function archive(files: Files): Uint8Array {
  const pieces = files.flatMap(([name, content]) => {
    const bytes = typeof content === "string" ? encoder.encode(content) : content;
    return [tarHeader(name, bytes.length), bytes, new Uint8Array((512 - (bytes.length % 512)) % 512)];
  });
  return Buffer.concat([...pieces, new Uint8Array(1024)]);
}

/** Calls `work` with a file of these bytes in a folder of its own, which is removed afterwards. */
export function withFile<T>(bytes: Uint8Array, work: (file: string, folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "spore-hostile-"));
  try {
    const file = join(folder, "image");
    writeFileSync(file, bytes);
    return work(file, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
