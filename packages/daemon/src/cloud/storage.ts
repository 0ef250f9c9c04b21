/** What each tenant keeps on disk: blobs of its images, snapshots, logs. */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { sporeError } from "@spore/errors";
import type { Images } from "../images.ts";
import type { Store } from "../store/types.ts";
import type { Tenants } from "./tenants.ts";

/** What it is made of. */
export interface StorageParts {
  readonly store: Store;
  readonly tenants: Tenants;
  readonly images: Pick<Images, "blobs">;
  /** Folders that hold one of each app's name. */
  readonly folders: readonly string[];
}

/** Measures and limits it. */
export class Storage {
  readonly #parts: StorageParts;
  /** Bytes that were uploaded since the last deploy: no release refers to them yet. */
  readonly #uploads = new Map<string, number>();

  constructor(parts: StorageParts) {
    this.#parts = parts;
  }

  /** Bytes that a tenant takes, with another image if one is given. A blob counts once. */
  async used(tenant: string, another: string | null = null): Promise<number> {
    const { store, images, folders } = this.#parts;
    const apps = store.list("apps").filter((app) => app.tenant === tenant);
    const digests = new Set(another === null ? [] : [another]);
    let bytes = 0;
    for (const { name } of apps) {
      for (const { image } of store.list("releases", { prefix: `${name}/` })) digests.add(image);
      for (const folder of folders) bytes += sizeOf(join(folder, name));
    }
    const blobs = new Map<string, number>();
    for (const digest of digests)
      for (const [blob, length] of await images.blobs(digest)) blobs.set(blob, length);
    for (const length of blobs.values()) bytes += length;
    return bytes;
  }

  /** Throws SPORE_QUOTA if an image is too much for its tenant. */
  async admitDeploy(tenant: string, image: string): Promise<void> {
    const limit = this.#parts.tenants.quotas(tenant).storage;
    if (limit !== null && (await this.used(tenant, image)) > limit) throw full(tenant, limit);
    this.#uploads.delete(tenant);
  }

  /** How many bytes a tenant may still upload; null: any. */
  async room(tenant: string): Promise<number | null> {
    const limit = this.#parts.tenants.quotas(tenant).storage;
    if (limit === null) return null;
    const room = limit - (await this.used(tenant)) - (this.#uploads.get(tenant) ?? 0);
    if (room <= 0) throw full(tenant, limit);
    return room;
  }

  /** A tenant has uploaded a blob. */
  uploaded(tenant: string, bytes: number): void {
    this.#uploads.set(tenant, (this.#uploads.get(tenant) ?? 0) + bytes);
  }
}

function full(tenant: string, limit: number): Error {
  return sporeError("SPORE_QUOTA", { tenant, what: `${limit} bytes of storage` });
}

/** Bytes of the files in a folder; a folder that is not there has none. */
function sizeOf(folder: string): number {
  let bytes = 0;
  try {
    for (const name of readdirSync(folder)) {
      bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
    }
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
  }
  return bytes;
}
