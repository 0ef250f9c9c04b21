import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeImageFile } from "./build.ts";
import { openImage, openImageSync } from "./image-file.ts";
import { importImage } from "./image-import.ts";
import { storeText } from "./image-writer.ts";
import { forgetImage, keepImage, keptImage } from "./kept-images.ts";
import { attachReferrer, detachReferrer, referrersOf } from "./referrers.ts";
import { prepareStore, type Store, storeAt } from "./store.ts";
import { sweepStore } from "./store-sweep.ts";
import { openWorkshop } from "./test-workshop.ts";
import type { Image } from "./types.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());
const TWO_HOURS = 2 * 3_600_000;

let image: Image;
beforeAll(async () => {
  const program = workshop.compile("hello", "int main(void){return 0;}", "musl-gcc", "-static");
  const built = (await workshop.build(program)).image;
  const file = join(workshop.folder, "hello.spore");
  await writeImageFile(built, file);
  image = await openImage(file, { store: "/nowhere" });
});

let stores = 0;
function newStore(): Store {
  return storeAt(join(workshop.folder, `imported${stores++}`));
}

test("an imported image is the same, with its blobs in the store", () => {
  const store = newStore();
  const imported = importImage(image, store);
  expect(imported.digest).toBe(image.digest);
  for (const blob of [imported.kernel, ...imported.layers]) {
    expect(blob).toMatchObject({ path: join(store.blobs, blob.sha256), offset: 0 });
  }
  expect(readdirSync(store.tmp)).toEqual([]);
});

test("of an image with one changed byte in a file, nothing comes into the store", () => {
  const path = join(workshop.folder, "changed.spore");
  const bytes = readFileSync(image.path);
  const last = image.layers.at(-1);
  bytes.writeUInt8(
    bytes.readUInt8((last?.offset ?? 0) + (last?.length ?? 0) - 1) ^ 1,
    (last?.offset ?? 0) + (last?.length ?? 0) - 1,
  );
  writeFileSync(path, bytes);
  const store = newStore();
  // A start does not read files' contents; an import does.
  const opened = openImageSync(path, store);
  expect(() => importImage(opened, store)).toThrow(/the bytes of hello have changed/);
  expect(readdirSync(store.blobs)).toEqual([]);
  expect(readdirSync(store.tmp)).toEqual([]);
});

test("what is kept by a name survives a sweep, with what refers to it; the rest goes", () => {
  const store = newStore();
  importImage(image, store);
  keepImage("release-1", image.digest, store);
  expect(keptImage("release-1", store)).toBe(image.digest);
  const text = "frozen";
  const sha256 = storeText(text, store).slice(-64);
  const blob = { mediaType: "application/x-memory", sha256, length: text.length, name: "memory" };
  const attached = attachReferrer(image, "application/x-snapshot", [blob], { key: "k" }, store);
  sweepStore(store, Date.now() + TWO_HOURS);
  expect(referrersOf(image.digest, store)).toEqual([attached]);
  expect(referrersOf(image.digest, store, "application/x-other")).toEqual([]);
  expect(attached.blobs[0]).toEqual({ ...blob, path: join(store.blobs, sha256) });
  expect(readFileSync(attached.blobs[0]?.path ?? "", "utf8")).toBe(text);
  const manifest = JSON.parse(readFileSync(join(store.blobs, attached.digest), "utf8"));
  expect(manifest).toMatchObject({ artifactType: "application/x-snapshot", annotations: { key: "k" } });
  expect(manifest.subject.digest).toBe(`sha256:${image.digest}`);

  detachReferrer(image.digest, attached.digest, store);
  sweepStore(store, Date.now() + TWO_HOURS);
  expect(existsSync(join(store.blobs, sha256))).toBe(false);
  expect(openImageSync(join(store.blobs, image.digest), store).digest).toBe(image.digest);
  forgetImage("release-1", store);
  sweepStore(store, Date.now() + TWO_HOURS);
  expect(readdirSync(store.blobs)).toEqual([]);
});

test("a layout that lists a snapshot beside its image is still that image", () => {
  const store = newStore();
  importImage(image, store);
  const referrer = attachReferrer(image, "application/x-snapshot", [], {}, store);
  const folder = join(workshop.folder, "layout");
  mkdirSync(join(folder, "blobs/sha256"), { recursive: true });
  for (const name of readdirSync(store.blobs))
    copyFileSync(join(store.blobs, name), join(folder, "blobs/sha256", name));
  copyFileSync(join(store.root, "oci-layout"), join(folder, "oci-layout"));
  const manifests = [referrer.digest, image.digest].map((digest) => ({
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: `sha256:${digest}`,
    size: readFileSync(join(store.blobs, digest)).length,
  }));
  writeFileSync(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  const none = newStore();
  prepareStore(none);
  expect(openImageSync(folder, none).digest).toBe(image.digest);
});
