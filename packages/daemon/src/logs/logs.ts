/** Logs of all apps: from what instances write to numbered lines that can be followed. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { LogLine } from "@spore/api";
import { Output, type OutputLine } from "./output.ts";
import { type KeptLine, Segments } from "./segments.ts";

/** Told of new lines of an app. */
export type Follower = (lines: readonly LogLine[]) => void;

/** The instance that writes. */
export interface Writer {
  readonly id: string;
  readonly app: string;
  readonly release: number;
}

/** The logs under one folder. */
export class Logs {
  readonly #folder: string;
  readonly #instances: string;
  readonly #segments = new Map<string, Segments>();
  readonly #outputs = new Map<string, { readonly writer: Writer; readonly output: Output }>();
  readonly #followers = new Map<string, Set<Follower>>();

  readonly #wrong: (thrown: unknown) => void;
  /** Bytes that instances left behind when nothing could be kept, until the log can say so. */
  readonly #owed = new Map<string, { readonly writer: Writer; readonly lost: number }[]>();

  /** `instances` is where the folders of instances are; `wrong` is told of what cannot be kept. */
  constructor(folder: string, instances: string, wrong: (thrown: unknown) => void = () => {}) {
    this.#folder = folder;
    this.#instances = instances;
    this.#wrong = wrong;
  }

  /** Begins, or goes on, to take what an instance writes. */
  take(writer: Writer): void {
    const path = join(this.#instances, writer.id, "output");
    if (this.#outputs.has(writer.id) || !existsSync(path)) return;
    const segments = this.#of(writer.app);
    const offset = segments.offsets().get(writer.id) ?? 0;
    this.#open(writer, path, offset);
  }

  /** As `take`, for an instance that was just made. */
  begin(writer: Writer): void {
    this.#open(writer, join(this.#instances, writer.id, "output"), 0);
  }

  #open(writer: Writer, path: string, offset: number): void {
    const take = (lines: readonly OutputLine[]): void => this.#keep(writer, lines);
    this.#outputs.set(writer.id, { writer, output: new Output(path, offset, take, this.#wrong) });
  }

  /** Throws if lines cannot be kept. */
  #keep({ id: instance, app, release }: Writer, lines: readonly OutputLine[]): void {
    const time = Date.now();
    const owed = (this.#owed.get(app) ?? []).map(({ writer, lost }) => {
      return { time, release: writer.release, instance: writer.id, text: "", offset: 0, lost };
    });
    const own = lines.map((line) => ({ time, release, instance, ...line }));
    const kept = this.#of(app).append([...owed, ...own]);
    this.#owed.delete(app);
    this.#tell(app, kept);
  }

  /** The instance has ended: takes the rest. */
  finish(id: string): void {
    const found = this.#outputs.get(id);
    if (found === undefined) return;
    const { writer, output } = found;
    this.#outputs.delete(id);
    const lost = output.finish();
    if (lost > 0) this.#owed.set(writer.app, [...(this.#owed.get(writer.app) ?? []), { writer, lost }]);
  }

  /** The last lines of one instance. */
  tail(app: string, instance: string, count: number): readonly string[] {
    const segments = this.#of(app);
    const recent = segments.after(Math.max(0, segments.next - 1 - 20 * count), 20 * count);
    return recent
      .filter((line) => line.instance === instance && line.lost === 0)
      .slice(-count)
      .map(({ text }) => text);
  }

  /** The number of the last line of an app. */
  last(app: string): number {
    return this.#of(app).next - 1;
  }

  /** Lines above a number. */
  read(app: string, after: number, limit: number): readonly LogLine[] {
    const lines = this.#of(app)
      .after(after, limit)
      .map((line) => lineOf(app, line));
    const first = lines[0];
    if (first === undefined || after === 0 || first.seq === after + 1) return lines;
    // Older lines were dropped: say how many.
    const lost = first.seq - after - 1;
    return [{ ...first, seq: first.seq - 1, text: "", lost }, ...lines];
  }

  /** Follows the lines of an app; gives what ends it. */
  follow(app: string, follower: Follower): () => void {
    const followers = this.#followers.get(app) ?? new Set();
    this.#followers.set(app, followers.add(follower));
    return () => {
      followers.delete(follower);
      if (followers.size === 0 && this.#followers.get(app) === followers) this.#followers.delete(app);
    };
  }

  /** Removes the log of an app. */
  remove(app: string): void {
    this.#of(app).remove();
    this.#segments.delete(app);
    this.#owed.delete(app);
  }

  /** Lets go of all files; what is written from now on is taken by the next daemon. */
  close(): void {
    for (const { output } of this.#outputs.values()) output.close();
    this.#outputs.clear();
  }

  #of(app: string): Segments {
    const known = this.#segments.get(app);
    if (known !== undefined) return known;
    const opened = new Segments(join(this.#folder, app));
    this.#segments.set(app, opened);
    return opened;
  }

  #tell(app: string, kept: readonly KeptLine[]): void {
    const followers = this.#followers.get(app);
    if (followers === undefined) return;
    const lines = kept.map((line) => lineOf(app, line));
    for (const follower of followers) follower(lines);
  }
}

function lineOf(app: string, { seq, time, release, instance, text, lost }: KeptLine): LogLine {
  return { seq, time, app, release, instance, text, lost };
}
