/**
 * Hostile images by name, each wrong in one way: absolute and `..` paths, links,
 * devices, bombs, overlaps, truncation, cycles. They are kept as files in
 * corpus/, where other tools (AFL) can start from them; a test compares.
 */

import { packKernel } from "../../packages/image/src/packed-kernel.ts";
import type { ImageManifest } from "../../packages/image/src/types.ts";
import { archive, baseLayer, type Files, KERNEL_LENGTH, type Parts, sealed } from "./base-image.ts";

/** An archive with one more entry, whose header is changed. */
function withEntry(name: string, change: (header: Buffer) => void = () => {}): () => Uint8Array {
  return () => {
    const bytes = Buffer.from(sealed({ files: (files) => [...files, [name, ""]] }));
    const header = bytes.subarray(bytes.length - 1024 - 512, bytes.length - 1024);
    change(header);
    resum(header);
    return bytes;
  };
}

/** Writes a header's checksum again. */
function resum(header: Buffer): void {
  header.write("        ", 148, "latin1");
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

function ofType(type: string): (header: Buffer) => void {
  return (header) => void header.write(type, 156, "latin1");
}

function archives(): Record<string, () => Uint8Array> {
  const cut = (length: number) => () => sealed().slice(0, length);
  return {
    "archive-absolute-path": withEntry("/etc/passwd"),
    "archive-parent-path": withEntry("blobs/../../../etc/passwd"),
    "archive-hard-link": withEntry("blobs/sha256/link", ofType("1")),
    "archive-symbolic-link": withEntry("blobs/sha256/link", (header) => {
      ofType("2")(header);
      header.write("../../../etc/passwd", 157, "latin1");
    }),
    "archive-character-device": withEntry("device", ofType("3")),
    "archive-block-device": withEntry("device", ofType("4")),
    "archive-pipe": withEntry("pipe", ofType("6")),
    "archive-sparse-file": withEntry("sparse", ofType("S")),
    "archive-unknown-kind": withEntry("strange", ofType("Z")),
    "archive-endless-file": withEntry(
      "endless",
      (header) => void header.write("77777777777\0", 124, "latin1"),
    ),
    "archive-beyond-counting": withEntry("endless", (header) => {
      header.fill(0xff, 124, 136);
      header[124] = 0x80;
    }),
    "archive-endless-name": withEntry("name", (header) => {
      ofType("L")(header);
      header.write("00001000000\0", 124, "latin1");
    }),
    "archive-same-entry-twice": () => sealed({ files: (files) => [...files, ["index.json", "{}"]] }),
    "archive-cut-in-header": cut(300),
    "archive-cut-in-document": cut(1536),
    "archive-without-end": () => sealed().slice(0, -1024),
    "archive-with-bytes-behind": () => Buffer.concat([sealed(), Buffer.alloc(512, 1)]),
    "archive-without-layout": () => sealed({ files: (files) => files.slice(1) }),
    "archive-without-index": () => sealed({ files: (files) => files.toSpliced(1, 1) }),
    "archive-without-blobs": () => sealed({ files: (files) => files.slice(0, 4) }),
    "archive-of-nothing": () => archive([]),
    "archive-with-changed-layer": () => {
      const bytes = Buffer.from(sealed());
      // The last byte of the layer: no start reads it.
      const at = bytes.lastIndexOf(0x61);
      bytes[at] = 0x62;
      return bytes;
    },
  };
}

function changed(change: (image: Mutable) => unknown): Parts {
  return {
    change: (image) => {
      change(image as Mutable);
      return image;
    },
  };
}

/** A manifest that may be written to, also what its type does not allow. */
type Mutable = {
  -readonly [K in Exclude<keyof ImageManifest, "version" | "vcpus">]: ImageManifest[K];
} & { version: number; vcpus: number };

function documents(): Record<string, () => Uint8Array> {
  const region = { va: 0x40_0000, gpa: 0x80_0000, length: 0x20_0000, parts: [] };
  const program = (change: object) => (): Uint8Array =>
    sealed(
      changed((image) => {
        image.program = { ...image.program, ...change };
      }),
    );
  const rights = (change: object) => (): Uint8Array =>
    sealed(
      changed((image) => {
        image.rights = { ...image.rights, ...change };
      }),
    );
  const part = { layer: 0, offset: 0, length: 4096, at: 0 };
  return {
    "manifest-deeply-nested": () => sealed({ config: () => "[".repeat(100_000) }),
    "manifest-no-json": () => sealed({ config: (text) => text.slice(1) }),
    "manifest-another-version": () =>
      sealed({ config: (text) => text.replace('"version":1', '"version":2') }),
    "manifest-unknown-field": () =>
      sealed({ config: (text) => text.replace('"spore":{', '"spore":{"more":1,') }),
    "manifest-said-twice": () =>
      sealed({ config: (text) => text.replace('"os":"linux"', '"os":"linux","os":"linux"') }),
    "manifest-prototype": () => sealed({ config: (text) => text.replace('"A":"1"', '"__proto__":{"a":1}') }),
    "manifest-tells-others-otherwise": () =>
      sealed({ config: (text) => text.replace('"Cmd":[]', '"Cmd":["x"]') }),
    "manifest-of-another-kind": () =>
      sealed({ manifest: (text) => text.replace("vnd.spore.image.v1", "vnd.other.v1") }),
    "manifest-blob-out-of-the-layout": () =>
      sealed({
        manifest: (text) => text.replace(/sha256:[0-9a-f]{64}/, "sha256:../../../../../../../etc/passwd"),
      }),
    "manifest-endless-document": () =>
      sealed({ index: (text) => text.replace(/"size":\d+/, '"size":9007199254740991') }),
    "manifest-negative-size": () => sealed({ index: (text) => text.replace(/"size":\d+/, '"size":-1') }),
    "manifest-two-images": () =>
      sealed({ index: (text) => text.replace(/("manifests":\[)(.*)\]/, "$1$2,$2]") }),
    "manifest-copy-outside-layer": program({
      private: [{ ...region, parts: [{ ...part, offset: 2 ** 40 }] }],
    }),
    "manifest-copy-outside-region": program({
      private: [{ ...region, parts: [{ ...part, at: 0x1f_f001 }] }],
    }),
    "manifest-copy-from-no-layer": program({ private: [{ ...region, parts: [{ ...part, layer: 7 }] }] }),
    "manifest-overlapping-frames": program({ private: [region, { ...region, va: 0x80_0000 }] }),
    "manifest-overlapping-addresses": program({ private: [region, { ...region, gpa: 0xa0_0000 }] }),
    "manifest-misaligned-frames": program({ private: [{ ...region, va: 0x40_1000 }] }),
    "manifest-shared-outside-layer": program({
      shared: [{ va: 0x40_0000, layer: 0, offset: 0, length: 2 ** 40 }],
    }),
    "manifest-mapping-inside-out": program({
      mappings: [{ start: 0x2000, end: 0x1000, prot: 1, fileOffset: 0, path: "" }],
    }),
    "manifest-mapping-without-frames": program({
      mappings: [{ start: 0x100_0000, end: 0x100_1000, prot: 1, fileOffset: 0, path: "" }],
    }),
    "manifest-region-of-the-kernel": program({ private: [{ ...region, va: 0x7f80_0000_0000 }] }),
    "manifest-heap-in-the-kernel": program({ brkStart: 0x7f80_0000_0000 }),
    "manifest-huge-kernel": () =>
      sealed(changed((image) => (image.kernel = { ...image.kernel, memoryLength: 2 ** 52 }))),
    "kernel-not-packed": () => sealed({ kernel: new Uint8Array(64).fill(0x90) }),
    "kernel-larger-than-it-says": () => sealed({ kernel: packKernel(new Uint8Array(KERNEL_LENGTH + 1)) }),
    "manifest-path-with-nul": program({ path: "/a\0b" }),
    "manifest-volume-of-the-host": rights({ volumes: ["/etc"] }),
    "manifest-port-zero": rights({ ports: [0] }),
    "manifest-strange-destination": rights({ destinations: ["10.0.0.0/99"] }),
    "manifest-strange-device": rights({ devices: ["disk"] }),
    "manifest-too-much-memory": () =>
      sealed(changed((image) => (image.defaults = { ...image.defaults, memory: 2 ** 50 }))),
    "manifest-two-processors": () => sealed(changed((image) => (image.vcpus = 2))),
  };
}

/** A layer with this change; without the checksum of its superblock, which would stop every one. */
function layerWith(change: (layer: Buffer) => void): () => Uint8Array {
  return () => {
    const layer = Buffer.from(baseLayer());
    layer.writeUInt32LE(layer.readUInt32LE(1024 + 8) & ~1, 1024 + 8);
    change(layer);
    return sealed({ layer });
  };
}

/** Where the compact inode of the file with that size lies. */
function inodeOfSize(layer: Buffer, size: number): number {
  for (let at = 1152; at < 4096; at += 32) if (layer.readUInt32LE(at + 8) === size) return at;
  throw new Error(`no file of ${size} bytes`);
}

function layers(): Record<string, () => Uint8Array> {
  const DIRECTORY = 0o040000;
  const rename = (from: string, to: string) => (layer: Buffer) => {
    const at = layer.indexOf(from, 1152, "latin1");
    layer.write(to, at, "latin1");
  };
  return {
    "layer-no-file-system": () => sealed({ layer: new Uint8Array(8192) }),
    "layer-cut-short": () => sealed({ layer: baseLayer().slice(0, 4096) }),
    "layer-parent-name": layerWith(rename("aabb", "..bb")),
    "layer-slash-in-name": layerWith(rename("aabb", "/abb")),
    "layer-name-twice": layerWith(rename("aabb", "bbbb")),
    "layer-device": layerWith((layer) => {
      const at = inodeOfSize(layer, 100);
      layer.writeUInt16LE(0o020666, at + 4);
    }),
    "layer-endless-file": layerWith(
      (layer) => void layer.writeUInt32LE(0xffff_ffff, inodeOfSize(layer, 4_097) + 8),
    ),
    "layer-file-outside": layerWith(
      (layer) => void layer.writeUInt32LE(0xffff_fff0, inodeOfSize(layer, 4_097) + 16),
    ),
    "layer-directory-in-itself": layerWith((layer) => {
      // The entry of /sub leads to the root again.
      for (let at = 1152 + 32; at + 4 < 4096; at += 32) {
        if ((layer.readUInt16LE(at + 4) & 0o170000) !== DIRECTORY) continue;
        const number = BigInt(at / 32);
        for (let entry = 1152; entry + 8 < at; entry += 4) {
          if (layer.readBigUInt64LE(entry) === number) layer.writeBigUInt64LE(36n, entry);
        }
        return;
      }
    }),
    "layer-root-outside": layerWith((layer) => void layer.writeUInt16LE(0xffff, 1024 + 14)),
    "layer-more-blocks-than-bytes": layerWith((layer) => void layer.writeUInt32LE(0xffff_ffff, 1024 + 36)),
    "layer-compressed": layerWith((layer) => void layer.writeUInt32LE(1, 1024 + 80)),
  };
}

/** What each case of the corpus is made by. */
export const hostileCases: Readonly<Record<string, () => Uint8Array>> = {
  ...archives(),
  ...documents(),
  ...layers(),
};

/** Cases that are too large for the tree; tests make them as they need them. */
export const largeCases: Readonly<Record<string, () => Uint8Array>> = {
  "archive-with-too-many-entries": () => {
    const many: Files = Array.from({ length: 5000 }, (_, index) => [`file${index}`, ""]);
    return sealed({ files: (files) => [...files, ...many] });
  },
  "manifest-too-many-mappings": () =>
    sealed(
      changed((image) => {
        const mapping = { start: 0, end: 4096, prot: 1, fileOffset: 0, path: "" };
        image.program = { ...image.program, mappings: Array.from({ length: 70_000 }, () => mapping) };
      }),
    ),
};
