/**
 * Images that were deployed, in a store of the daemon's own: what a builder
 * sweeps from its cache must not be missing at the next wake.
 */

import { createHash } from "node:crypto";
import { createWriteStream, existsSync, linkSync, mkdirSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { sporeError } from "@spore/errors";
import { type Image, openImage, type Store, storeAt } from "@spore/image";
import { forgetImage, keepImage, partsOfImage, prepareStore, sweepStore } from "@spore/image/store";
import { newId } from "./fleet/fleet.ts";

/** Images that were opened and are kept at hand; releases of the same image share it. */
const OPEN = 500;

/** Blobs and images under one folder. */
export class Images {
  readonly #open = new Map<string, Image>();
  readonly #store: Store;
  readonly #uploads: string;
  readonly #lengths = new Map<string, ReadonlyMap<string, number>>();

  constructor(root: string) {
    this.#store = storeAt(root);
    prepareStore(this.#store);
    this.#uploads = join(root, "uploads");
    // What was cut off.
    rmSync(this.#uploads, { recursive: true, force: true });
    mkdirSync(this.#uploads, { recursive: true });
  }

  /** Whether a blob (a manifest, say) is here. */
  has(digest: string): boolean {
    return existsSync(join(this.#store.blobs, digest));
  }

  /** Digests of what an image consists of, beside its manifest; none if that is no manifest. */
  parts(digest: string): readonly string[] {
    return partsOfImage(this.#store, digest) ?? [];
  }

  /** Keeps a blob, if its bytes have the digest and are not more than `room`; gives its length. */
  async putBlob(digest: string, bytes: Readable, room: number | null = null): Promise<number> {
    return await this.#receive(bytes, room, (temporary, sha256, length) => {
      if (sha256 !== digest) {
        throw sporeError("SPORE_CONFLICT", {
          problem: `the bytes have the digest ${sha256}, not ${digest}`,
        });
      }
      linkOver(temporary, join(this.#store.blobs, digest));
      return length;
    });
  }

  /** Opens an image whose blobs were put, and checks them. */
  async open(digest: string): Promise<Image> {
    if (!this.has(digest)) throw sporeError("SPORE_NOT_FOUND", { what: `image ${digest}` });
    const image = await openImage(join(this.#store.blobs, digest), { store: this.#store.root });
    // One object for all that use it.
    const known = this.#open.get(digest) ?? image;
    this.#open.delete(digest);
    this.#open.set(digest, known);
    const oldest = this.#open.size > OPEN ? this.#open.keys().next().value : undefined;
    if (oldest !== undefined) this.#open.delete(oldest);
    return known;
  }

  /** Length of each blob of an image. */
  async blobs(digest: string): Promise<ReadonlyMap<string, number>> {
    const known = this.#lengths.get(digest);
    if (known !== undefined) return known;
    const { kernel, layers, documents } = await this.open(digest);
    const lengths = new Map([kernel, ...layers, ...documents].map(({ sha256, length }) => [sha256, length]));
    this.#lengths.set(digest, lengths);
    return lengths;
  }

  /** A release refers to it. */
  keep(digest: string): void {
    keepImage(digest, digest, this.#store);
  }

  /** Removes images that no release refers to any more, and blobs that no image does. */
  sweep(unused: ReadonlySet<string>): void {
    for (const digest of unused) {
      forgetImage(digest, this.#store);
      this.#lengths.delete(digest);
    }
    sweepStore(this.#store);
  }

  async #receive<T>(
    bytes: Readable,
    room: number | null,
    then: (temporary: string, sha256: string, length: number) => T,
  ): Promise<T> {
    const temporary = join(this.#uploads, newId());
    const hash = createHash("sha256");
    let length = 0;
    try {
      await pipeline(
        bytes,
        async function* (source: AsyncIterable<Buffer>) {
          for await (const chunk of source) {
            hash.update(chunk);
            length += chunk.length;
            if (room !== null && length > room) {
              throw sporeError("SPORE_API_INVALID", { problem: "the tenant has no room for so many bytes" });
            }
            yield chunk;
          }
        },
        // Written through before it counts as kept.
        createWriteStream(temporary, { flags: "wx", mode: 0o600, flush: true }),
      );
      return then(temporary, hash.digest("hex"), length);
    } catch (thrown) {
      const { code, message } = thrown as NodeJS.ErrnoException;
      if (code !== "ENOSPC" && code !== "EDQUOT") throw thrown;
      throw sporeError("SPORE_STATE", { file: this.#uploads, problem: message }, { cause: thrown });
    } finally {
      rmSync(temporary, { force: true });
    }
  }
}

/** Gives a finished file its name; another upload of the same bytes may have been first. */
function linkOver(temporary: string, target: string): void {
  try {
    linkSync(temporary, target);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EEXIST") throw thrown;
    // What is young is not swept: its image comes next.
    utimesSync(target, new Date(), new Date());
  }
}
