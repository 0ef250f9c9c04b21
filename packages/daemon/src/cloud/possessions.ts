/**
 * Which tenant has which blobs. Equal bytes are stored once, but only who has
 * uploaded them has them: a digest alone gives nobody another's image, nor tells
 * whether there is one.
 */

import { sporeError } from "@spore/errors";
import type { Images } from "../images.ts";
import { namedKey, type Store } from "../store/types.ts";

/** What each tenant has uploaded. */
export class Possessions {
  readonly #store: Store;
  readonly #images: Pick<Images, "has" | "parts">;

  constructor(store: Store, images: Pick<Images, "has" | "parts">) {
    this.#store = store;
    this.#images = images;
  }

  /** Which of the blobs a tenant does not have. */
  missing(tenant: string, digests: readonly string[]): readonly string[] {
    return digests.filter((digest) => !this.#has(tenant, digest));
  }

  /** A tenant has uploaded a blob. */
  note(tenant: string, digest: string): void {
    this.#store.put("uploads", namedKey(tenant, digest), { tenant, digest });
  }

  /** Throws unless a tenant has an image with all of its parts; one that others have is not there. */
  check(tenant: string, image: string): void {
    const next = { next: "upload it first" };
    if (!this.#has(tenant, image)) throw sporeError("SPORE_NOT_FOUND", { what: `image ${image}` }, next);
    const [missing] = this.missing(tenant, this.#images.parts(image));
    if (missing !== undefined) throw sporeError("SPORE_NOT_FOUND", { what: `blob ${missing}` }, next);
  }

  /** Forgets blobs that are gone. */
  sweep(): void {
    for (const { tenant, digest } of this.#store.list("uploads")) {
      if (!this.#images.has(digest)) this.#store.delete("uploads", namedKey(tenant, digest));
    }
  }

  #has(tenant: string, digest: string): boolean {
    return this.#store.get("uploads", namedKey(tenant, digest)) !== null && this.#images.has(digest);
  }
}
