/**
 * The log of one app: numbered lines in files of limited size, named by the
 * number of their first line. The oldest files are dropped.
 */

import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import type { LogLine } from "@spore/api";

/** A line as it is kept; `offset` is where the program's output goes on behind it. */
export interface KeptLine extends Omit<LogLine, "app"> {
  readonly offset: number;
}

/** Bytes of a file, and files of an app. */
const SEGMENT_BYTES = 4 << 20;
const SEGMENTS = 8;

/** The lines of one app. */
export class Segments {
  readonly #folder: string;
  #names: string[];
  #next: number;
  #size: number;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#names = readdirSync(folder)
      .filter((name) => /^\d{12}$/.test(name))
      .sort();
    const last = this.#names.at(-1);
    if (last === undefined) {
      this.#next = 1;
      this.#size = 0;
      return;
    }
    this.#size = this.#mend(last);
    const lines = this.#read(last);
    this.#next = lines.length === 0 ? Number(last) : (lines.at(-1)?.seq ?? 0) + 1;
  }

  /** The number of the next line. */
  get next(): number {
    return this.#next;
  }

  /** Where each instance's output goes on, by what has been kept of it. */
  offsets(): Map<string, number> {
    const offsets = new Map<string, number>();
    for (const name of this.#names) {
      for (const line of this.#read(name)) offsets.set(line.instance, line.offset);
    }
    return offsets;
  }

  /** Keeps lines; gives them their numbers. */
  append(lines: readonly Omit<KeptLine, "seq">[]): readonly KeptLine[] {
    let name = this.#names.at(-1);
    if (name === undefined || this.#size >= SEGMENT_BYTES) name = this.#roll();
    const kept = lines.map((line, index) => ({ seq: this.#next + index, ...line }));
    const text = kept.map((line) => `${JSON.stringify(line)}\n`).join("");
    const path = join(this.#folder, name);
    try {
      appendFileSync(path, text, { mode: 0o600 });
    } catch (thrown) {
      // A disk that is full took a part of it.
      if (existsSync(path)) truncateSync(path, this.#size);
      throw thrown;
    }
    this.#next += kept.length;
    this.#size += Buffer.byteLength(text);
    return kept;
  }

  /** Lines with numbers above `after`, the first `limit` of them. */
  after(after: number, limit: number): readonly KeptLine[] {
    const found: KeptLine[] = [];
    for (const [index, name] of this.#names.entries()) {
      const following = this.#names[index + 1];
      if (following !== undefined && Number(following) <= after + 1) continue;
      for (const line of this.#read(name)) {
        if (line.seq <= after) continue;
        found.push(line);
        if (found.length >= limit) return found;
      }
    }
    return found;
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #roll(): string {
    const name = String(this.#next).padStart(12, "0");
    this.#names.push(name);
    this.#size = 0;
    while (this.#names.length > SEGMENTS) {
      const oldest = this.#names.shift();
      if (oldest !== undefined) rmSync(join(this.#folder, oldest), { force: true });
    }
    return name;
  }

  /** A crash may have left half a line: it was not acknowledged, and is written again. */
  #mend(name: string): number {
    const path = join(this.#folder, name);
    const bytes = readFileSync(path);
    const whole = bytes.lastIndexOf(10) + 1;
    if (whole < bytes.length) truncateSync(path, whole);
    return statSync(path).size;
  }

  #read(name: string): readonly KeptLine[] {
    const lines = readFileSync(join(this.#folder, name), "utf8").split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line) as KeptLine);
  }
}
