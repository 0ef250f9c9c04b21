/**
 * Snapshots of releases: a file each, taken once the release was warm. What a release has in
 * common with an earlier one is not kept twice: its file is made on that of the newest release
 * that is not made on another itself.
 */

import { existsSync, linkSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { asSporeError } from "@spore/errors";
import { snapshotHead } from "@spore/monitor-client";
import { numberKey, type ReleaseRecord } from "./store/types.ts";

/** Snapshots that are kept of an app, the newest. */
const KEPT = 10;

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

  /** Lets `write` write a file, on another or by itself, which counts once it is whole. */
  async take(
    release: Pick<ReleaseRecord, "app" | "number">,
    write: (path: string, base: string | null) => Promise<void>,
  ): Promise<void> {
    const path = this.#path(release);
    const temporary = `${path}.new`;
    mkdirSync(join(this.#folder, release.app), { recursive: true, mode: 0o700 });
    rmSync(temporary, { force: true });
    try {
      const base = this.#base(release.app, path);
      await write(temporary, base).catch((thrown: unknown) => {
        if (base === null || !isUnfit(thrown)) throw thrown;
        return write(temporary, null);
      });
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

  /** The newest snapshot of an app that others may be made on. */
  #base(app: string, but: string): string | null {
    const paths = this.#names(app).map((name) => join(this.#folder, app, name));
    return paths.findLast((path) => path !== but && snapshotHead(path)?.base === null) ?? null;
  }

  #names(app: string): readonly string[] {
    const names = readdirSync(join(this.#folder, app));
    return names.filter((name) => name.endsWith(".snap")).sort();
  }

  /** Older releases boot, if they are ever gone back to. Those that run have read their files. */
  #sweep(app: string, newest: number): void {
    const names = this.#names(app);
    const kept = new Set([...names.slice(-KEPT), `${numberKey(newest)}.snap`]);
    for (const name of [...kept]) {
      const base = snapshotHead(join(this.#folder, app, name))?.base;
      if (base != null) kept.add(base);
    }
    for (const name of names) {
      if (kept.has(name)) continue;
      const path = join(this.#folder, app, name);
      rmSync(path, { force: true });
      this.#known.set(path, false);
    }
  }
}

/** The base is damaged, or of another version. */
function isUnfit(thrown: unknown): boolean {
  return ["SPORE_SNAPSHOT_DAMAGED", "SPORE_SNAPSHOT_FOREIGN"].includes(asSporeError(thrown).code);
}
