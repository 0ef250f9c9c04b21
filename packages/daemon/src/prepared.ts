/** What a start of each release needs, kept at hand: a wake must not read or decrypt anything. */

import type { Prepared } from "./fleet/fleet.ts";
import type { Images } from "./images.ts";
import type { Secrets } from "./secrets.ts";
import { type ReleaseRecord, releaseKey } from "./store/types.ts";

/** Releases that are kept at hand. */
const KEPT = 1000;

/** Images and variables of releases. */
export class Preparations {
  readonly #images: Images;
  readonly #secrets: Secrets;
  readonly #kept = new Map<string, Prepared>();

  constructor(images: Images, secrets: Secrets) {
    this.#images = images;
    this.#secrets = secrets;
  }

  /** At once, if the release was prepared before. */
  of(release: ReleaseRecord): Prepared | Promise<Prepared> {
    return this.#kept.get(releaseKey(release.app, release.number)) ?? this.#make(release);
  }

  /** An app is gone, or an image may have been damaged. */
  forget(app: string): void {
    for (const key of this.#kept.keys()) if (key.startsWith(`${app}/`)) this.#kept.delete(key);
  }

  async #make(release: ReleaseRecord): Promise<Prepared> {
    const [image, secrets] = await Promise.all([this.#images.open(release.image), this.#secrets.of(release)]);
    const prepared = { image, env: release.config.env, secrets };
    const oldest = this.#kept.size >= KEPT ? this.#kept.keys().next().value : undefined;
    if (oldest !== undefined) this.#kept.delete(oldest);
    this.#kept.set(releaseKey(release.app, release.number), prepared);
    return prepared;
  }
}
