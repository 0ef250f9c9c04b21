/** Takes what a program writes, as it comes, and cuts it into lines. */

import { spawn } from "node:child_process";
import { closeSync, type FSWatcher, fstatSync, openSync, readSync, watch } from "node:fs";

/** A line, and where the output goes on behind it. */
export interface OutputLine {
  readonly text: string;
  readonly offset: number;
  /** Bytes that were passed over before this line; the line says nothing then. */
  readonly lost: number;
}

const CHUNK = 256 << 10;
/** A line that is longer is cut. */
const LINE_LIMIT = 16 << 10;
/** A program that writes faster than it is read for so long loses lines, and the log says so. */
const BACKLOG_LIMIT = 8 << 20;
const BACKLOG_KEPT = 1 << 20;
/** When what could not be kept is tried again: somebody has to make room. */
const RETRY_MS = 1000;
/** What was taken is given back to the disk in pieces of this size. */
const PUNCH = 4 << 20;

/** All files are read through it, one after the other. */
const buffer = Buffer.allocUnsafe(CHUNK);

/** Follows one file. */
export class Output {
  readonly #path: string;
  readonly #fd: number;
  readonly #watcher: FSWatcher;
  readonly #take: (lines: readonly OutputLine[]) => void;
  readonly #wrong: (thrown: unknown) => void;
  /** How far lines have been taken. */
  #offset: number;
  #punched: number;
  #busy = false;
  #closed = false;
  /** Lines could not be kept the last time. */
  #failing = false;

  /** `take` throws if lines cannot be kept, which `wrong` is told of once. */
  constructor(
    path: string,
    offset: number,
    take: (lines: readonly OutputLine[]) => void,
    wrong: (thrown: unknown) => void,
  ) {
    this.#path = path;
    // A machine that was just woken may not have made it yet.
    this.#fd = openSync(path, "a+", 0o600);
    this.#offset = offset;
    this.#punched = offset - (offset % PUNCH);
    this.#take = take;
    this.#wrong = wrong;
    this.#watcher = watch(path, { persistent: false }, () => this.#later());
    this.#watcher.on("error", () => {});
    this.#later();
  }

  /** Takes what is left, an unfinished line too, and ends. Gives how many bytes could not be kept. */
  finish(): number {
    if (this.#closed) return 0;
    while (this.#read()) {
      // Until there is nothing more.
    }
    if (!this.#failing) this.#rest();
    const lost = this.#failing ? fstatSync(this.#fd).size - this.#offset : 0;
    this.close();
    return lost;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.close();
    closeSync(this.#fd);
  }

  /** Once for many notices, and never so long that requests wait. */
  #later(): void {
    if (this.#busy || this.#closed) return;
    this.#busy = true;
    setImmediate(() => {
      this.#busy = false;
      if (!this.#closed && this.#read()) this.#later();
    });
  }

  /** Reads a piece; whether there may be more. */
  #read(): boolean {
    const size = fstatSync(this.#fd).size;
    if (size - this.#offset > BACKLOG_LIMIT && !this.#skip(size - BACKLOG_KEPT)) return false;
    const count = readSync(this.#fd, buffer, 0, CHUNK, this.#offset);
    if (count === 0) return false;
    const lines: OutputLine[] = [];
    let start = 0;
    while (start < count) {
      const end = buffer.indexOf(10, start);
      const stop = end < 0 || end >= count ? count : end;
      const cut = stop - start > LINE_LIMIT ? start + LINE_LIMIT : stop;
      // The rest of a line that is not finished stays where it is.
      if (cut === count && stop === count) break;
      const next = cut === stop ? stop + 1 : cut;
      lines.push({ text: this.#text(start, cut), offset: this.#offset + next, lost: 0 });
      start = next;
    }
    if (lines.length > 0 && !this.#given(lines)) return false;
    this.#offset += start;
    this.#punch();
    return start > 0;
  }

  /** Gives lines on; those that cannot be kept stay where they are, and are tried again later. */
  #given(lines: readonly OutputLine[]): boolean {
    try {
      this.#take(lines);
      this.#failing = false;
      return true;
    } catch (thrown) {
      if (!this.#failing) this.#wrong(thrown);
      this.#failing = true;
      setTimeout(() => this.#later(), RETRY_MS).unref();
      return false;
    }
  }

  #text(start: number, end: number): string {
    const text = buffer.toString("utf8", start, end);
    return text.endsWith("\r") ? text.slice(0, -1) : text;
  }

  /** What stands behind the last line feed. */
  #rest(): void {
    const count = readSync(this.#fd, buffer, 0, LINE_LIMIT, this.#offset);
    if (count === 0) return;
    const offset = this.#offset + count;
    if (this.#given([{ text: this.#text(0, count), offset, lost: 0 }])) this.#offset = offset;
  }

  #skip(to: number): boolean {
    const skipped = this.#given([{ text: "", offset: to, lost: to - this.#offset }]);
    if (skipped) this.#offset = to;
    return skipped;
  }

  /** Gives what was taken back to the disk, where fallocate(1) is there to do it. */
  #punch(): void {
    const end = this.#offset - (this.#offset % PUNCH);
    if (end <= this.#punched) return;
    const [from, length] = [this.#punched, end - this.#punched];
    this.#punched = end;
    const words = ["--punch-hole", "--offset", String(from), "--length", String(length), this.#path];
    const child = spawn("fallocate", words, { stdio: "ignore" });
    child.on("error", () => {});
    child.unref();
  }
}
