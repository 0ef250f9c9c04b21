import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type TestCloud, testCloud } from "../test-cloud.ts";
import { testDriver } from "../test-driver.ts";
import { Storage } from "./storage.ts";

const images: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  ["0".repeat(64)]: { node: 1000, app: 10 },
  other: { node: 1000, app2: 20 },
};

let folder: string;
let cloud: TestCloud;
let storage: Storage;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "spore-storage-"));
  cloud = await testCloud(testDriver());
  cloud.app("a");
  const blobs = async (digest: string) => new Map(Object.entries(images[digest] ?? {}));
  storage = new Storage({ ...cloud, images: { blobs }, folders: [folder] });
});
afterEach(async () => {
  await cloud[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test("counts blobs once, and what lies in the folders of the tenant's apps", async () => {
  mkdirSync(join(folder, "a"));
  writeFileSync(join(folder, "a", "log"), "12345");
  mkdirSync(join(folder, "b"));
  writeFileSync(join(folder, "b", "log"), "not mine");
  expect(await storage.used("default")).toBe(1015);
  expect(await storage.used("default", "other")).toBe(1035);
  expect(await storage.used("nobody")).toBe(0);
});

test("a deploy or an upload that is too much is refused by name", async () => {
  cloud.tenants.put("default", { storage: 1020 });
  await expect(storage.admitDeploy("default", "other")).rejects.toThrow("1020 bytes of storage");
  expect(await storage.room("default")).toBe(10);
  storage.uploaded("default", 10);
  await expect(storage.room("default")).rejects.toMatchObject({ code: "SPORE_QUOTA" });
  cloud.tenants.put("default", { storage: 1040 });
  await storage.admitDeploy("default", "other");
  expect(await storage.room("default")).toBe(30);
  cloud.tenants.put("default", { storage: null });
  expect(await storage.room("default")).toBeNull();
});
