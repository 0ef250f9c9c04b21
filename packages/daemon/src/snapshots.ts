/** Snapshots of releases: a file each, taken once the release was warm. */

import { existsSync, linkSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { numberKey, type ReleaseRecord } from "./store/types.ts";

/** Snapshots that are kept of an app, the newest. */
const KEPT = 3;

/** The snapshots under one folder. */
export class Snapshots {
  readonly #folder: string;
  readonly #known = new Map<string, boolean>();

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /**
   * Whether a release may be frozen: its memory must not hold a secret, which a
   * file would then keep.
   */
  static allowed({ config }: ReleaseRecord): boolean {
    return config.snapshot && Object.keys(config.secrets).length === 0;
  }

  /** The file to go on from; null: the release boots. */
  of(release: Pick<ReleaseRecord, "app" | "number">): string | null {
    const path = this.#path(release);
    const known = this.#known.get(path) ?? existsSync(path);
    this.#known.set(path, known);
    return known ? path : null;
  }

  /** Lets `write` write a file, which counts once it is whole. */
  async take(
    release: Pick<ReleaseRecord, "app" | "number">,
    write: (path: string) => Promise<void>,
  ): Promise<void> {
    const path = this.#path(release);
    const temporary = `${path}.new`;
    mkdirSync(join(this.#folder, release.app), { recursive: true, mode: 0o700 });
    rmSync(temporary, { force: true });
    try {
      await write(temporary);
      renameSync(temporary, path);
    } finally {
      rmSync(temporary, { force: true });
    }
    this.#known.set(path, true);
    this.#sweep(release.app, release.number);
  }

  /** The snapshot of one release is that of another too: they are the same but for their numbers. */
  share(app: string, from: number, to: number): void {
    const [path, other] = [this.#path({ app, number: from }), this.#path({ app, number: to })];
    this.#known.delete(other);
    try {
      rmSync(other, { force: true });
      linkSync(path, other);
    } catch {
      // There is none, or this file system has no links: the release boots.
      return;
    }
    this.#sweep(app, to);
  }

  /** It is damaged, or made for another machine. */
  drop(release: Pick<ReleaseRecord, "app" | "number">): void {
    const path = this.#path(release);
    rmSync(path, { force: true });
    this.#known.set(path, false);
  }

  /** Removes the snapshots of an app. */
  remove(app: string): void {
    rmSync(join(this.#folder, app), { recursive: true, force: true });
    this.#known.clear();
  }

  #path({ app, number }: Pick<ReleaseRecord, "app" | "number">): string {
    return join(this.#folder, app, `${numberKey(number)}.snap`);
  }

  /** Older releases boot, if they are ever gone back to. Those that run keep their mapped files. */
  #sweep(app: string, newest: number): void {
    const names = readdirSync(join(this.#folder, app)).sort();
    const own = `${numberKey(newest)}.snap`;
    for (const name of names.slice(0, -KEPT)) {
      if (name === own) continue;
      const path = join(this.#folder, app, name);
      rmSync(path, { force: true });
      this.#known.set(path, false);
    }
  }
}
