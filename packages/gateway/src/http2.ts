/** Clients that speak HTTP/2: each stream is an exchange of its own. */

import {
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import { isTrailer } from "./body.ts";
import { Exchange, type Inbound, type Shared } from "./exchange.ts";
import {
  bad,
  type Framing,
  HEAD_LIMIT,
  HEADERS_LIMIT,
  type Header,
  hostOf,
  type RequestHead,
  type ResponseHead,
  tooLong,
} from "./head.ts";
import type { Holder } from "./splice.ts";
import { Refusal } from "./target.ts";

/** How long a connection without a request is kept. */
const IDLE_MS = 75_000;
/** Streams that a client may have open on one connection. */
const STREAMS = 256;

/** What of HTTP/1.1 does not exist here; an app that says it is not passed on. */
const foreign = /^(connection|keep-alive|proxy-connection|transfer-encoding|upgrade)$/i;

/** All connections that have agreed on HTTP/2. */
export class Http2Sessions {
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #streams = new Set<Http2Inbound>();
  #leaves = false;

  constructor(shared: Shared) {
    const settings = { maxConcurrentStreams: STREAMS, maxHeaderListSize: 2 * HEAD_LIMIT, enablePush: false };
    this.#server = createServer({ settings });
    this.#server.on("stream", (stream, headers, flags) => {
      const ended = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      const inbound = new Http2Inbound(stream, headers, ended);
      this.#streams.add(inbound);
      stream.once("close", () => this.#streams.delete(inbound));
      inbound.begin(shared);
    });
    this.#server.on("sessionError", () => {});
    this.#server.on("session", (session) => this.#onSession(session));
  }

  /** Takes a connection. */
  take(socket: Socket): void {
    this.#server.emit("connection", socket);
  }

  /** The gateway goes away: clients are told to open no more streams (GOAWAY). */
  leave(): void {
    this.#leaves = true;
    for (const session of this.#sessions) session.close();
    for (const stream of this.#streams) stream.leave();
  }

  #onSession(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.once("close", () => this.#sessions.delete(session));
    let open = 0;
    session.on("stream", (stream) => {
      open += 1;
      stream.once("close", () => {
        open -= 1;
      });
    });
    session.setTimeout(IDLE_MS, () => {
      if (open === 0) session.close();
    });
    if (this.#leaves) session.close();
  }
}

class Http2Inbound implements Inbound {
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #ended: boolean;
  readonly peer: string;
  readonly secure: boolean;
  readonly started: number = performance.now();
  request: RequestHead = emptyHead;
  #exchange: Exchange | null = null;
  #trailers: readonly Header[] = [];
  #finished = false;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ended: boolean) {
    this.#stream = stream;
    this.#headers = headers;
    this.#ended = ended;
    this.secure = stream.session?.encrypted ?? false;
    const socket: Pick<Socket, "remoteAddress"> | undefined = stream.session?.socket;
    this.peer = (socket?.remoteAddress ?? "").replace(/^::ffff:/, "");
    stream.on("error", () => {});
    stream.on("close", () => {
      if (!this.#finished) this.#exchange?.clientGone();
    });
    stream.on("drain", () => this.#exchange?.clientDrained());
    stream.on("trailers", (trailers: IncomingHttpHeaders) => {
      try {
        this.#trailers = headerList(trailers).filter(isTrailer);
      } catch {
        // The app has part of a request that will never be whole.
        stream.close(constants.NGHTTP2_PROTOCOL_ERROR);
      }
    });
  }

  begin(shared: Shared): void {
    try {
      this.request = headOf(this.#headers, this.#ended);
    } catch (thrown) {
      this.refuse(thrown instanceof Refusal ? thrown : bad(String(thrown)));
      return;
    }
    this.#exchange = new Exchange(this, shared);
    this.#exchange.begin();
  }

  /** What has no end of its own ends now. */
  leave(): void {
    this.#exchange?.leave();
  }

  openBody(): void {
    const exchange = this.#exchange;
    this.#stream.on("data", (bytes: Buffer) => exchange?.bodyData(bytes));
    this.#stream.on("end", () => exchange?.bodyEnd(this.#trailers));
  }

  pauseBody(): void {
    this.#stream.pause();
  }

  resumeBody(): void {
    this.#stream.resume();
  }

  interim(head: ResponseHead): void {
    if (!this.#gone) this.#stream.additionalHeaders(fields(head));
  }

  respond(head: ResponseHead, extra: string): void {
    if (this.#gone) return;
    const headers = fields(head);
    for (const line of extra.split("\r\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) headers[line.slice(0, colon)] = line.slice(colon + 2);
    }
    const waitForTrailers = head.framing.kind === "chunked";
    this.#stream.respond(headers, { waitForTrailers, endStream: head.framing.kind === "none" });
  }

  /** The library joins what is written. */
  flush(): void {}

  write(bytes: Buffer): boolean {
    return this.#gone || bytes.length === 0 || this.#stream.write(bytes);
  }

  finish(trailers: readonly Header[]): void {
    this.#finished = true;
    if (this.#gone || this.#stream.writableEnded) return;
    this.#stream.once("wantTrailers", () => this.#stream.sendTrailers(grouped(trailers)));
    this.#stream.end();
  }

  abort(): void {
    this.#finished = true;
    this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  refuse(why: Refusal): void {
    this.#finished = true;
    if (this.#gone) return;
    const body = `${why.code}: ${why.message}\n`;
    this.#stream.respond({
      ":status": why.status,
      "content-type": "text/plain; charset=utf-8",
      "content-length": Buffer.byteLength(body),
      "x-spore-error": why.code,
      ...(why.retryAfter !== null && { "retry-after": String(why.retryAfter) }),
    });
    this.#stream.end(this.request.method === "HEAD" ? undefined : body);
    // What is left of a body that nobody wants.
    this.#stream.resume();
  }

  upgrade(_head: ResponseHead, _extra: string, app: Socket, _rest: Buffer | null, holder: Holder): void {
    // Nothing here asks for one: the app has answered what it was not asked.
    app.destroy();
    holder.done();
    this.refuse(new Refusal(502, "SPORE_APP_ANSWER", "the app changed the protocol"));
  }

  get #gone(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }
}

const emptyHead: RequestHead = {
  method: "",
  path: "",
  host: "",
  authority: "",
  headers: [],
  framing: { kind: "none" },
  minor: 1,
  keepAlive: true,
  upgrade: null,
};

/** The head of a request, held to the rules of HTTP/1.1, which the app will read. */
function headOf(headers: IncomingHttpHeaders, ended: boolean): RequestHead {
  const method = headers[":method"] ?? "";
  const path = headers[":path"] ?? "";
  const authority = headers[":authority"] ?? headers.host ?? "";
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/.test(method) || method === "CONNECT")
    throw bad("the method cannot be used");
  if (!/^(\/[\x21-\x22\x24-\x7e]*|\*)$/.test(path)) throw bad("the path cannot be read");
  if (headers.host !== undefined && headers[":authority"] !== undefined && headers.host !== authority) {
    throw bad("two hosts");
  }
  return {
    ...emptyHead,
    method,
    path,
    authority,
    host: hostOf(authority),
    headers: headerList(headers),
    framing: framingOf(headers["content-length"], ended),
  };
}

function framingOf(length: string | undefined, ended: boolean): Framing {
  if (length !== undefined && !/^[0-9]{1,15}$/.test(length)) throw bad("content-length is not a number");
  if (ended) return { kind: "none" };
  return length === undefined ? { kind: "chunked" } : { kind: "length", length: Number(length) };
}

function headerList(headers: IncomingHttpHeaders): Header[] {
  const list: Header[] = [];
  let length = 0;
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(":") || name === "host" || foreign.test(name) || value === undefined) continue;
    for (const each of Array.isArray(value) ? value : [value]) {
      if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(each)) throw bad("a header cannot be read");
      list.push([name, each]);
      length += name.length + each.length + 4;
      if (length > HEAD_LIMIT || list.length > HEADERS_LIMIT) throw tooLong();
    }
  }
  return list;
}

function fields({ status, headers }: ResponseHead): OutgoingHttpHeaders {
  return { ":status": status, ...grouped(headers.filter(([name]) => !foreign.test(name))) };
}

/** Headers of one name together, as the library wants them. */
function grouped(headers: readonly Header[]): OutgoingHttpHeaders {
  const found: Record<string, string | string[]> = {};
  for (const [written, value] of headers) {
    const name = written.toLowerCase();
    const before = found[name];
    found[name] = before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value];
  }
  return found;
}
