// Anybody can write an image, and so its documents.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync } from "node:zlib";
import type { SporeError } from "@spore/errors";
import { afterAll, expect, test } from "vitest";
import { needsOf, packed, piecesOf } from "./document.ts";
import { sha256Of } from "./oci.ts";
import type { Image } from "./types.ts";

const folder = mkdtempSync(join(tmpdir(), "spore-document-"));
afterAll(() => rmSync(folder, { recursive: true }));

function imageWith(name: string, bytes: Uint8Array): Image {
  const path = join(folder, "document");
  writeFileSync(path, bytes);
  const document = { kind: "document", name, sha256: sha256Of(bytes), length: bytes.length, path, offset: 0 };
  return { documents: [document] } as unknown as Image;
}

const needs = {
  version: 1,
  mode: "derived",
  calls: [
    { number: 1, name: "write", by: [{ kind: "callSite", object: "/a", address: 4096, symbol: "main" }] },
  ],
  services: [{ name: "file/*", by: [] }],
  everything: [],
  sites: [{ object: "/a", sites: 2, patched: 2 }],
};

test("what a builder writes is read", () => {
  expect(needsOf(imageWith("needs", packed(needs)))).toEqual(needs);
  expect(needsOf(imageWith("pieces", packed([])))).toBeUndefined();
});

test.each([
  ["something else", packed(5)],
  ["no list", packed({ ...needs, calls: { length: 1 } })],
  ["an unknown reason", packed({ ...needs, everything: [{ kind: "unknown" }] })],
  [
    "what would move a terminal's cursor",
    packed({ ...needs, sites: [{ object: "\u001b[2J", sites: 1, patched: 1 }] }),
  ],
  ["no JSON", brotliCompressSync("{")],
  ["not packed", Buffer.from(JSON.stringify(needs))],
  ["a bomb", brotliCompressSync(Buffer.alloc(256 << 20, " "))],
])("a document with %s is refused", (_, bytes) => {
  for (const read of [() => needsOf(imageWith("needs", bytes)), () => piecesOf(imageWith("pieces", bytes))]) {
    expect(read).toThrow(expect.objectContaining({ code: "SPORE_IMAGE_DAMAGED" }) as SporeError);
  }
});
