/** Clients that speak HTTP/1.1: one connection, requests one after the other. */

import type { Socket } from "node:net";
import { BodyReader, chunkHead, lastChunk } from "./body.ts";
import { Exchange, type Inbound, type Shared } from "./exchange.ts";
import {
  bad,
  HEAD_LIMIT,
  type Header,
  parseRequest,
  type RequestHead,
  type ResponseHead,
  tooLong,
} from "./head.ts";
import { type Holder, type Splice, splice } from "./splice.ts";
import { Refusal } from "./target.ts";

/** How long an idle connection is kept. */
const IDLE_MS = 75_000;
/** Bytes that are kept of what comes before it can be used. */
const AHEAD_LIMIT = 256 << 10;
/** Parts of an answer that are joined before they are written: more costs a copy than a call saves. */
const JOINED_LIMIT = 4 << 10;
/** How long a client may take to read the end of a refused connection. */
const LINGER_MS = 2000;

/** How HTTP/2 begins, with an end that no request of HTTP/1.1 has (RFC 9113, 3.4). */
const HTTP2 = "PRI * HTTP/2.0";

/** What all connections share. */
export interface ConnectionShared extends Shared {
  /** How long a head may take from its first byte, in milliseconds. */
  readonly headMs: number;
  /** Connections end after their current answer. */
  readonly closing: () => boolean;
  /** The client speaks HTTP/2 from its first byte on. */
  readonly http2: (socket: Socket, bytes: Buffer) => void;
}

const emptyRequest: RequestHead = {
  method: "",
  path: "",
  host: "",
  authority: "",
  headers: [],
  framing: { kind: "none" },
  minor: 1,
  keepAlive: false,
  upgrade: null,
};

/** One connection of a client. */
export class Http1Connection implements Inbound {
  readonly #socket: Socket;
  readonly #shared: ConnectionShared;
  readonly peer: string;
  readonly secure: boolean;
  request: RequestHead = emptyRequest;
  started = 0;
  #ahead: Buffer | null = null;
  #exchange: Exchange | null = null;
  #body: BodyReader | null = null;
  #bodyOpen = false;
  #bodyPaused = false;
  /** How the body of the answer is sent; null: the head has not been. */
  #out: "none" | "plain" | "chunked" | null = null;
  #keep = false;
  #ended = false;
  /** Set once the connection is not HTTP any more. */
  #splice: Splice | null = null;
  /** Runs all the time, since to start one for each request costs as much as to read it. */
  readonly #idle: NodeJS.Timeout;
  #timer: NodeJS.Timeout | null = null;
  /** What was written in this turn, each character a byte. */
  #pending = "";

  constructor(socket: Socket, shared: ConnectionShared, secure: boolean, peer?: string) {
    this.#socket = socket;
    this.#shared = shared;
    this.secure = secure;
    this.peer = peer ?? (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => this.#onData(bytes));
    socket.on("end", () => this.#onGone());
    socket.on("close", () => this.#onGone());
    socket.on("error", () => {});
    socket.on("drain", () => this.#exchange?.clientDrained());
    this.#idle = setTimeout(() => this.#onIdle(), IDLE_MS).unref();
  }

  #onIdle(): void {
    if (this.#exchange === null && this.started === 0) this.#socket.destroy();
    else this.#idle.refresh();
  }

  /** The gateway goes away: ends the connection if nothing is going on, and what has no end of its own. */
  leave(): void {
    this.#keep = false;
    if (this.#splice !== null) this.#splice.leave();
    else if (this.#exchange !== null) this.#exchange.leave();
    else if (!this.#ended) this.#socket.end();
  }

  #onData(bytes: Buffer): void {
    if (this.#ended) return;
    const joined = this.#ahead === null ? bytes : Buffer.concat([this.#ahead, bytes]);
    this.#ahead = null;
    if (this.#exchange === null) this.#readHead(joined);
    else this.#readBody(joined);
  }

  #readHead(bytes: Buffer): void {
    let start = 0;
    // RFC 9112, 2.2: an empty line before a request is no harm.
    while (start < 4 && bytes[start] === 13 && bytes[start + 1] === 10) start += 2;
    const rest = start === 0 ? bytes : bytes.subarray(start);
    if (rest.length === 0) return;
    const isFirst = this.started === 0;
    if (isFirst) this.started = performance.now();
    const end = rest.indexOf("\r\n\r\n");
    if (end > HEAD_LIMIT || (end < 0 && rest.length > HEAD_LIMIT)) {
      this.refuse(tooLong());
      return;
    }
    if (end < 0) {
      this.#ahead = rest;
      if (isFirst) {
        this.#arm(this.#shared.headMs, () =>
          this.refuse(new Refusal(408, "SPORE_REQUEST_INVALID", "the request took too long")),
        );
      }
      return;
    }
    this.#clearTimer();
    if (end === HTTP2.length && rest.toString("latin1", 0, end) === HTTP2) {
      this.#ended = true;
      clearTimeout(this.#idle);
      this.#socket.removeAllListeners("data").removeAllListeners("end").removeAllListeners("drain");
      this.#shared.http2(this.#socket, rest);
      return;
    }
    try {
      this.request = parseRequest(rest.toString("latin1", 0, end));
    } catch (thrown) {
      this.refuse(thrown instanceof Refusal ? thrown : bad(String(thrown)));
      return;
    }
    this.#ahead = rest.length > end + 4 ? rest.subarray(end + 4) : null;
    this.#keep = this.request.keepAlive && !this.#shared.closing();
    const exchange = new Exchange(this, this.#shared);
    this.#exchange = exchange;
    const { framing } = this.request;
    if (framing.kind !== "none") {
      const sink = {
        data: (data: Buffer) => exchange.bodyData(data),
        end: (trailers: readonly Header[]) => exchange.bodyEnd(trailers),
      };
      this.#body = new BodyReader(framing, sink, bad);
    }
    exchange.begin();
  }

  #readBody(bytes: Buffer): void {
    if (this.#body === null || this.#body.ended || !this.#bodyOpen || this.#bodyPaused) {
      this.#ahead = bytes;
      if (bytes.length > AHEAD_LIMIT) this.#socket.pause();
      return;
    }
    try {
      this.#ahead = this.#body.feed(bytes);
    } catch (thrown) {
      this.#onBadBody(thrown instanceof Refusal ? thrown : bad(String(thrown)));
    }
  }

  /** The app has part of a request that will never be whole. */
  #onBadBody(why: Refusal): void {
    const exchange = this.#exchange;
    if (this.#out === null) this.refuse(why);
    else this.#socket.destroy();
    exchange?.clientGone();
  }

  openBody(): void {
    this.#bodyOpen = true;
    this.#body?.begin();
    this.#readOn();
  }

  pauseBody(): void {
    this.#bodyPaused = true;
    this.#socket.pause();
  }

  resumeBody(): void {
    if (!this.#bodyPaused) return;
    this.#bodyPaused = false;
    this.#readOn();
  }

  #readOn(): void {
    const ahead = this.#ahead;
    this.#ahead = null;
    if (ahead !== null) this.#readBody(ahead);
    if (!this.#bodyPaused && this.#socket.isPaused()) this.#socket.resume();
  }

  interim(head: ResponseHead): void {
    if (this.request.minor === 0) return;
    this.#write(`${headText(head.status, head.reason, head.headers)}\r\n`);
    this.flush();
  }

  respond(head: ResponseHead, extra: string): void {
    const { kind } = head.framing;
    let text = headText(head.status, head.reason, head.headers) + extra;
    if (kind === "none" || kind === "length") {
      this.#out = kind === "none" ? "none" : "plain";
    } else if (this.request.minor === 1) {
      text += "transfer-encoding: chunked\r\n";
      this.#out = "chunked";
    } else {
      this.#keep = false;
      this.#out = "plain";
    }
    if (this.#shared.closing()) this.#keep = false;
    if (!this.#keep) text += "connection: close\r\n";
    else if (this.request.minor === 0) text += "connection: keep-alive\r\n";
    this.#write(`${text}\r\n`);
  }

  write(bytes: Buffer): boolean {
    if (this.#out === "none" || bytes.length === 0) return true;
    if (this.#out !== "chunked") return this.#write(bytes);
    this.#write(chunkHead(bytes.length));
    this.#write(bytes);
    return this.#write("\r\n");
  }

  finish(trailers: readonly Header[]): void {
    if (this.#out === "chunked") this.#write(lastChunk(trailers));
    this.flush();
    const read = this.#body === null || this.#body.ended;
    if (!this.#keep || !read) this.#close();
    else this.#next();
  }

  abort(): void {
    // The client must see that the answer is not whole.
    this.#socket.destroy();
  }

  refuse(why: Refusal): void {
    const body = `${why.code}: ${why.message}\n`;
    const keep =
      this.#keep &&
      this.#exchange !== null &&
      (this.#body === null || this.#body.ended) &&
      why.status !== 400;
    const headers =
      `content-type: text/plain; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `x-spore-error: ${why.code}\r\n` +
      (why.retryAfter === null ? "" : `retry-after: ${why.retryAfter}\r\n`) +
      (keep ? "" : "connection: close\r\n");
    this.#out = "plain";
    const head = this.request.method === "HEAD";
    const text = `${headText(why.status, reasons[why.status] ?? "", [])}${headers}\r\n${head ? "" : body}`;
    this.#write(Buffer.from(text));
    this.flush();
    if (keep) this.#next();
    else this.#close();
  }

  upgrade(head: ResponseHead, extra: string, app: Socket, rest: Buffer | null, holder: Holder): void {
    const text =
      headText(head.status, head.reason, head.headers) +
      extra +
      `connection: upgrade\r\nupgrade: ${head.upgrade ?? this.request.upgrade ?? ""}\r\n\r\n`;
    this.#clearTimer();
    clearTimeout(this.#idle);
    this.#ended = true;
    const ahead = this.#ahead;
    this.#ahead = null;
    this.#socket.removeAllListeners("data").removeAllListeners("end").removeAllListeners("drain");
    this.#socket.write(text, "latin1");
    const websocket = /^websocket$/i.test(head.upgrade ?? this.request.upgrade ?? "");
    this.#splice = splice(this.#socket, app, { toClient: rest, toApp: ahead }, holder, websocket);
    if (this.#shared.closing()) this.#splice.leave();
  }

  /** What is written in one turn of the event loop leaves together, with `flush`. */
  #write(what: string | Buffer): boolean {
    if (typeof what === "string") this.#pending += what;
    else if (what.length <= JOINED_LIMIT) this.#pending += what.toString("latin1");
    else {
      this.#socket.cork();
      this.flush();
      this.#socket.write(what);
      this.#socket.uncork();
    }
    return !this.#socket.writableNeedDrain;
  }

  flush(): void {
    if (this.#pending === "") return;
    const text = this.#pending;
    this.#pending = "";
    this.#socket.write(text, "latin1");
  }

  /** Ready for the next request. */
  #next(): void {
    this.#exchange = null;
    this.#body = null;
    this.#bodyOpen = false;
    this.#bodyPaused = false;
    this.#out = null;
    this.started = 0;
    this.#idle.refresh();
    const ahead = this.#ahead;
    if (ahead === null) {
      if (this.#socket.isPaused()) this.#socket.resume();
      return;
    }
    // Not at once: pipelined requests must not pile up on the stack.
    setImmediate(() => {
      if (this.#ended || this.#exchange !== null) return;
      const bytes = this.#ahead;
      this.#ahead = null;
      if (this.#socket.isPaused()) this.#socket.resume();
      if (bytes !== null) this.#readHead(bytes);
    });
  }

  /** Ends the connection once the answer has left; what the client still sends is not read for ever. */
  #close(): void {
    this.#ended = true;
    this.#exchange = null;
    this.#socket.end();
    this.#socket.resume();
    this.#arm(LINGER_MS, () => this.#socket.destroy());
  }

  #onGone(): void {
    this.#clearTimer();
    clearTimeout(this.#idle);
    if (this.#ended) {
      this.#socket.destroy();
      return;
    }
    this.#ended = true;
    const exchange = this.#exchange;
    this.#exchange = null;
    this.#socket.destroy();
    exchange?.clientGone();
  }

  #arm(ms: number, then: () => void): void {
    this.#clearTimer();
    this.#timer = setTimeout(then, ms).unref();
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function headText(status: number, reason: string, headers: readonly Header[]): string {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (const [name, value] of headers) text += `${name}: ${value}\r\n`;
  return text;
}

const reasons: Readonly<Record<number, string>> = {
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};
