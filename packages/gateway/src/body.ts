/** Bodies of HTTP/1.1 messages: from bytes on a connection to the bytes that are meant. */

import { type Framing, type Header, readHeaders } from "./head.ts";
import type { Refusal } from "./target.ts";

/** A line that gives a chunk's size, with extensions, or the trailers, may be so long. */
const LINE_LIMIT = 16 << 10;
const sizeLine = /^([0-9A-Fa-f]{1,12})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?$/;

/** Who gets the parts of a body. */
export interface BodySink {
  data(bytes: Buffer): void;
  end(trailers: readonly Header[]): void;
}

/** Takes one body from a stream of bytes. */
export class BodyReader {
  readonly #sink: BodySink;
  readonly #refuse: (what: string) => Refusal;
  readonly #chunked: boolean;
  /** Bytes that are still to come of the body or the chunk; Infinity: until the connection ends. */
  #left: number;
  /** What of a chunk comes next. */
  #part: "size" | "data" | "break" | "trailers" = "size";
  /** The start of a line whose end has not come. */
  #line: Buffer | null = null;
  #trailers = "";
  #ended = false;

  constructor(framing: Framing, sink: BodySink, refuse: (what: string) => Refusal) {
    this.#sink = sink;
    this.#refuse = refuse;
    this.#chunked = framing.kind === "chunked";
    this.#left = framing.kind === "length" ? framing.length : framing.kind === "close" ? Infinity : 0;
  }

  /** The whole body has been read. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Bodies without bytes end before any come. */
  begin(): void {
    if (!this.#chunked && this.#left === 0) this.#end([]);
  }

  /** Reads; gives what follows the body. Throws a `Refusal`. */
  feed(bytes: Buffer): Buffer | null {
    if (this.#chunked) return this.#feedChunks(bytes);
    if (bytes.length <= this.#left) {
      this.#left -= bytes.length;
      this.#sink.data(bytes);
      if (this.#left === 0) this.#end([]);
      return null;
    }
    const rest = bytes.subarray(this.#left);
    const own = bytes.subarray(0, this.#left);
    this.#left = 0;
    this.#sink.data(own);
    this.#end([]);
    return rest;
  }

  /** The connection has ended; whether the body is whole. */
  close(): boolean {
    if (this.#left === Infinity) this.#end([]);
    return this.#ended;
  }

  #end(trailers: readonly Header[]): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#sink.end(trailers);
  }

  #feedChunks(bytes: Buffer): Buffer | null {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#part === "data") {
        const own = rest.length > this.#left ? rest.subarray(0, this.#left) : rest;
        this.#left -= own.length;
        rest = rest.subarray(own.length);
        this.#sink.data(own);
        if (this.#left === 0) this.#part = "break";
        continue;
      }
      const line = this.#takeLine(rest);
      if (line === null) return null;
      rest = line.rest;
      if (this.#onLine(line.text)) return rest.length > 0 ? rest : null;
    }
    return null;
  }

  /** True at the end of the body. */
  #onLine(text: string): boolean {
    if (this.#part === "break") {
      if (text !== "") throw this.#refuse("a chunk is longer than it says");
      this.#part = "size";
    } else if (this.#part === "size") {
      const size = sizeLine.exec(text)?.[1];
      if (size === undefined) throw this.#refuse("the size of a chunk cannot be read");
      this.#left = Number.parseInt(size, 16);
      this.#part = this.#left === 0 ? "trailers" : "data";
    } else if (text === "") {
      const lines = this.#trailers.split("\r\n").slice(0, -1);
      this.#end(readHeaders(["", ...lines], this.#refuse).filter(isTrailer));
      return true;
    } else {
      this.#trailers += `${text}\r\n`;
      if (this.#trailers.length > LINE_LIMIT) throw this.#refuse("the trailers are too long");
    }
    return false;
  }

  /** The text of a line and what follows it; null if its end has not come. */
  #takeLine(bytes: Buffer): { readonly text: string; readonly rest: Buffer } | null {
    const joined = this.#line === null ? bytes : Buffer.concat([this.#line, bytes]);
    const end = joined.indexOf(10);
    if (end > LINE_LIMIT || (end < 0 && joined.length > LINE_LIMIT)) {
      throw this.#refuse("a line of the body is too long");
    }
    if (end < 0) {
      this.#line = joined;
      return null;
    }
    this.#line = null;
    // A line feed alone is a line to some and not to others.
    if (joined[end - 1] !== 13) throw this.#refuse("a line of the body does not end with CR LF");
    return { text: joined.toString("latin1", 0, end - 1), rest: joined.subarray(end + 1) };
  }
}

/** Trailers that would change what the message means are left out. */
/** Whether a header may come after the body: nothing that says what the body is, or who asks. */
export function isTrailer([name]: Header): boolean {
  return !/^(transfer-encoding|content-length|host|connection|te|upgrade|trailer|authorization|content-encoding|content-type|content-range|set-cookie|cookie)$/i.test(
    name,
  );
}

/** Bytes as a chunk. */
export function chunkHead(length: number): string {
  return `${length.toString(16)}\r\n`;
}

/** The end of a chunked body. */
export function lastChunk(trailers: readonly Header[]): string {
  return `0\r\n${trailers.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
}
