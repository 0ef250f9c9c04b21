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
  /** How far lines have been taken. */
  #offset: number;
  #punched: number;
  #busy = false;
  #closed = false;

  constructor(path: string, offset: number, take: (lines: readonly OutputLine[]) => void) {
    this.#path = path;
    this.#fd = openSync(path, "r");
    this.#offset = offset;
    this.#punched = offset - (offset % PUNCH);
    this.#take = take;
    this.#watcher = watch(path, { persistent: false }, () => this.#later());
    this.#watcher.on("error", () => {});
    this.#later();
  }

  /** Takes what is left, an unfinished line too, and ends. */
  finish(): void {
    if (this.#closed) return;
    while (this.#read()) {
      // Until there is nothing more.
    }
    this.#rest();
    this.close();
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
    if (size - this.#offset > BACKLOG_LIMIT) this.#skip(size - BACKLOG_KEPT);
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
    this.#offset += start;
    if (lines.length > 0) this.#take(lines);
    this.#punch();
    return start > 0;
  }

  #text(start: number, end: number): string {
    const text = buffer.toString("utf8", start, end);
    return text.endsWith("\r") ? text.slice(0, -1) : text;
  }

  /** What stands behind the last line feed. */
  #rest(): void {
    const count = readSync(this.#fd, buffer, 0, LINE_LIMIT, this.#offset);
    if (count === 0) return;
    this.#offset += count;
    this.#take([{ text: this.#text(0, count), offset: this.#offset, lost: 0 }]);
  }

  #skip(to: number): void {
    const lost = to - this.#offset;
    this.#offset = to;
    this.#take([{ text: "", offset: to, lost }]);
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
