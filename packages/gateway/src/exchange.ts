/**
 * One request and its answer, between a client of any protocol and an instance.
 * Nothing is sent twice: once a byte may have reached the app, a failure is told.
 */

import type { Socket } from "node:net";
import { chunkHead, lastChunk } from "./body.ts";
import type { Framing, Header, RequestHead, ResponseHead } from "./head.ts";
import type { Holder } from "./splice.ts";
import {
  type Answered,
  type Caller,
  type Finished,
  type Lease,
  Refusal,
  type Router,
  type Target,
} from "./target.ts";
import { type Context, contextOf } from "./trace.ts";
import type { AnswerSink, UpstreamConnection, Upstreams } from "./upstream.ts";

/** An instance that is gone when it is connected to is replaced so many times. */
const ATTEMPTS = 4;

/** A client that goes away after so long may well have given up on the app. */
const PATIENCE_MS = 10_000;

/** Numbers of a wake are told so much later: the client needs the processor. */
const LATER_MS = 5;

/** As status of a request whose client went away before there was an answer; no client ever sees it. */
const CLIENT_GONE = 499;

/** The client's side of an exchange. */
export interface Inbound {
  readonly request: RequestHead;
  /** Address of the client, for `x-forwarded-for`. */
  readonly peer: string;
  readonly secure: boolean;
  /** When the first byte of the request came, by performance.now(). */
  readonly started: number;
  /** Lets the body come, by `bodyData` and `bodyEnd`. */
  openBody(): void;
  pauseBody(): void;
  resumeBody(): void;
  interim(head: ResponseHead): void;
  respond(head: ResponseHead, extra: string): void;
  /** False: wait for `drained`. */
  write(bytes: Buffer): boolean;
  /** What was written leaves now: no more of it comes in this turn of the event loop. */
  flush(): void;
  finish(trailers: readonly Header[]): void;
  /** The answer cannot be completed. */
  abort(): void;
  /** Answers in the app's place; only before `respond`. */
  refuse(why: Refusal): void;
  /** Gives the client's connection to the app. */
  upgrade(head: ResponseHead, extra: string, app: Socket, rest: Buffer | null, holder: Holder): void;
}

/** What exchanges share. */
export interface Shared {
  readonly router: Router;
  readonly upstreams: Upstreams;
  readonly answered: (what: Answered) => void;
  readonly finished: ((what: Finished) => void) | null;
  /** A client that takes nothing of what is there for it for so long is cut off, in milliseconds. */
  readonly stalledMs: number;
}

/** A request on its way. */
export class Exchange implements AnswerSink, Caller {
  readonly #inbound: Inbound;
  readonly #shared: Shared;
  readonly #chunked: boolean;
  #target: Target | null = null;
  #lease: Lease | null = null;
  #connection: UpstreamConnection | null = null;
  onGone: (() => void) | null = null;
  /** Runs while the client takes nothing. */
  #stall: NodeJS.Timeout | null = null;
  #attempts = 0;
  #responded = false;
  /** The answer is a stream of events: it has no end of its own, and its reader comes again. */
  #events = false;
  #over = false;
  #bodyEnded = false;
  #bodyBytes = 0;
  /** By performance.now(): its head was read; the app got it; the app answered. */
  readonly #begun: number = performance.now();
  #sentAt = 0;
  #answeredAt = 0;
  readonly #context: Context;
  #told: Answered | null = null;
  /** What was told to the client in this turn, and nobody else yet. */
  #untold: Answered | null = null;

  constructor(inbound: Inbound, shared: Shared) {
    this.#inbound = inbound;
    this.#shared = shared;
    this.#chunked = inbound.request.framing.kind === "chunked";
    this.#context = contextOf(inbound.request.headers, shared.finished !== null);
  }

  /** Finds who answers, and waits for it if it sleeps. */
  begin(): void {
    const { host, path } = this.#inbound.request;
    try {
      this.#target = this.#shared.router.find(host, path);
    } catch (thrown) {
      this.#refuse(asRefusal(thrown));
      return;
    }
    if (this.#target === null) {
      this.#refuse(
        new Refusal(404, "SPORE_NO_APP", `no app answers for ${host === "" ? "this host" : host}`),
      );
      return;
    }
    const { framing } = this.#inbound.request;
    if (framing.kind === "length" && framing.length > (this.#target.bodyLimit ?? Infinity)) {
      this.#refuse(tooLarge());
      return;
    }
    this.#acquire(this.#target);
  }

  #acquire(target: Target): void {
    this.#attempts += 1;
    let lease: Lease | Promise<Lease>;
    try {
      lease = target.acquire(this);
    } catch (thrown) {
      this.#refuse(asRefusal(thrown));
      return;
    }
    if (!(lease instanceof Promise)) {
      this.#send(lease);
      return;
    }
    lease.then(
      (granted) => {
        this.onGone = null;
        if (this.#over) granted.release();
        else this.#send(granted);
      },
      (thrown: unknown) => this.#refuse(asRefusal(thrown)),
    );
  }

  #send(lease: Lease): void {
    this.#lease = lease;
    this.#shared.upstreams.open(lease.address, (connection) => {
      if (this.#over) connection.abandon();
      else this.#sendOver(connection);
    });
  }

  #sendOver(connection: UpstreamConnection): void {
    const { request } = this.#inbound;
    this.#connection = connection;
    this.#sentAt = performance.now();
    connection.begin(requestText(this.#inbound, this.#context), request.method, this);
    connection.expect(this.#target?.requestTimeoutMs ?? 60_000);
    if (request.framing.kind === "none") {
      this.#bodyEnded = true;
      connection.sent();
    } else {
      this.#openBody(connection);
    }
  }

  /** What leads nowhere, or to an instance that never runs, must not cost the body: it is read only once. */
  #openBody(connection: UpstreamConnection): void {
    const started = this.#lease?.started ?? null;
    const open = (): void => {
      if (this.#connection === connection && !this.#over) this.#inbound.openBody();
    };
    if (started !== null) void started.then((how) => how === "runs" && open());
    else if (connection.socket.connecting) connection.socket.once("connect", open);
    else open();
  }

  /** A part of the request's body. */
  bodyData(bytes: Buffer): void {
    const connection = this.#connection;
    if (connection === null || this.#over) return;
    // The app's time begins when it has all of the request.
    connection.expectMore();
    this.#bodyBytes += bytes.length;
    if (this.#bodyBytes > (this.#target?.bodyLimit ?? Infinity)) {
      connection.abandon();
      this.failed(tooLarge());
      return;
    }
    let more: boolean;
    if (this.#chunked) {
      connection.socket.cork();
      connection.write(chunkHead(bytes.length));
      connection.write(bytes);
      more = connection.write("\r\n");
      connection.socket.uncork();
    } else {
      more = connection.write(bytes);
    }
    if (!more) this.#inbound.pauseBody();
  }

  /** The end of the request's body. */
  bodyEnd(trailers: readonly Header[]): void {
    this.#bodyEnded = true;
    const connection = this.#connection;
    if (connection === null || this.#over) return;
    if (this.#chunked) connection.write(lastChunk(trailers));
    connection.sent();
  }

  /** The client went away. */
  clientGone(): void {
    if (this.#over) return;
    const connection = this.#connection;
    const waited = this.#sentAt > 0 ? performance.now() - this.#sentAt : 0;
    if (connection !== null && !this.#responded && waited > PATIENCE_MS) this.#lease?.unanswered();
    connection?.abandon();
    this.#end(false);
    this.onGone?.();
  }

  /** The client takes more of the answer. */
  clientDrained(): void {
    this.#clearStall();
    this.#connection?.socket.resume();
  }

  /** The gateway goes away: what has no end of its own ends now, between two parts. */
  leave(): void {
    if (!this.#events || this.#over) return;
    this.#connection?.abandon();
    this.#end(true);
    this.#inbound.finish([]);
  }

  #onStalled(): void {
    this.clientGone();
    this.#inbound.abort();
  }

  #clearStall(): void {
    if (this.#stall !== null) clearTimeout(this.#stall);
    this.#stall = null;
  }

  drained(): void {
    this.#inbound.resumeBody();
  }

  interim(head: ResponseHead): void {
    this.#inbound.interim(head);
  }

  head(head: ResponseHead): void {
    this.#responded = true;
    this.#events = head.framing.kind !== "length" && isEventStream(head);
    this.#told = this.#answer(head.status);
    this.#inbound.respond(own(head), extraOf(this.#told));
    this.#tellLater(this.#told);
  }

  /** Nobody waits for it: what was written in this turn leaves, and whoever waited for a wake has its answer first. */
  #tellLater(told: Answered): void {
    this.#lease?.answered();
    if (this.#lease?.started == null) this.#untold = told;
    else setTimeout(() => this.#shared.answered(told), LATER_MS);
  }

  flush(): void {
    this.#inbound.flush();
    this.#tellNow();
  }

  #tellNow(): void {
    const told = this.#untold;
    this.#untold = null;
    if (told !== null) this.#shared.answered(told);
  }

  data(bytes: Buffer): void {
    if (this.#inbound.write(bytes)) return;
    this.#connection?.socket.pause();
    this.#stall ??= setTimeout(() => this.#onStalled(), this.#shared.stalledMs).unref();
  }

  end(trailers: readonly Header[]): void {
    this.#end(true);
    this.#inbound.finish(trailers);
    this.#tellNow();
  }

  upgraded(head: ResponseHead, socket: Socket, rest: Buffer | null): void {
    this.#responded = true;
    const told = this.#answer(head.status);
    this.#told = told;
    this.#tellLater(told);
    const lease = this.#lease;
    this.#over = true;
    this.#connection = null;
    this.#inbound.upgrade(head, extraOf(told), socket, rest, {
      idleMs: this.#target?.connectionIdleMs ?? null,
      rest: () => lease?.rest(),
      resume: () => lease?.resume(),
      leaving: () => lease?.leaving() ?? false,
      done: () => {
        lease?.release();
        this.#finish(true);
      },
    });
    this.#tellNow();
  }

  unreachable(): void {
    const started = this.#lease?.started ?? null;
    if (started === null) this.#another();
    else void started.then((how) => this.#another(how instanceof Refusal ? how : null));
  }

  /** Nothing has reached the app. */
  #another(why: Refusal | null = null): void {
    const lease = this.#lease;
    this.#lease = null;
    this.#connection = null;
    lease?.unreachable();
    const target = this.#target;
    if (target === null || this.#over) return;
    if (why !== null) this.#refuse(why);
    else if (this.#attempts < ATTEMPTS) this.#acquire(target);
    else this.#refuse(new Refusal(502, "SPORE_APP_ANSWER", "the app does not take connections"));
  }

  failed(why: Refusal): void {
    if (this.#responded && this.#events && this.#lease?.leaving() === true) {
      this.#end(true);
      this.#inbound.finish([]);
      return;
    }
    if (this.#responded) {
      this.#end(false);
      this.#inbound.abort();
      return;
    }
    const started = this.#lease?.started ?? null;
    if (started === null) this.#refuse(why);
    else {
      void started.then((how) => {
        if (how === "runs") this.#refuse(why);
        else this.#another(how instanceof Refusal ? how : null);
      });
    }
  }

  /** The app has taken too long. */
  late(): void {
    this.#lease?.unanswered();
    this.#connection?.abandon();
    this.#refuse(new Refusal(504, "SPORE_APP_TIMEOUT", "the app did not begin to answer in time"));
  }

  #refuse(why: Refusal): void {
    if (this.#over) return;
    this.#tell(why.status);
    this.#end(true);
    this.#inbound.refuse(why);
  }

  /** The request holds the instance no longer. */
  #end(whole: boolean): void {
    this.#over = true;
    this.#clearStall();
    const lease = this.#lease;
    this.#lease = null;
    lease?.release();
    this.#finish(whole);
  }

  /** Tells of what is over now; of a client that went away before there was an answer too. */
  #finish(whole: boolean): void {
    const { finished } = this.#shared;
    if (finished === null) return;
    const { request, started, peer, secure } = this.#inbound;
    if (this.#told === null) this.#told = this.#answer(CLIENT_GONE);
    const question = request.path.indexOf("?");
    finished({
      ...this.#told,
      trace: this.#context.trace,
      host: request.host,
      path: question < 0 ? request.path : request.path.slice(0, question),
      scheme: secure ? "https" : "http",
      peer,
      began: performance.timeOrigin + started,
      ended: performance.timeOrigin + performance.now(),
      whole,
    });
  }

  /** Whether the client has sent all of its request. */
  get requestRead(): boolean {
    return this.#bodyEnded;
  }

  #tell(status: number): void {
    this.#told = this.#answer(status);
    this.#shared.answered(this.#told);
  }

  #answer(status: number): Answered {
    const { request, started } = this.#inbound;
    return {
      target: this.#target?.name ?? null,
      method: request.method,
      status,
      start: this.#lease?.start ?? null,
      firstByteMs: performance.now() - started,
      phases: this.#phases(),
    };
  }

  /** Of a request that waited; one that did not has nothing to tell. */
  #phases(): Answered["phases"] {
    const { phases } = this.#lease ?? {};
    if (phases?.["wait"] === undefined) return phases ?? {};
    const now = performance.now();
    if (this.#answeredAt === 0) this.#answeredAt = now;
    // It may have been sent to an instance that had yet to come to life.
    const asked = Math.max(this.#sentAt, this.#begun + phases["wait"]);
    return {
      accept: this.#begun - this.#inbound.started,
      ...phases,
      first_byte: Math.max(0, this.#answeredAt - asked),
    };
  }
}

function isEventStream({ headers }: ResponseHead): boolean {
  return headers.some(
    ([name, value]) =>
      name.length === 12 && /^content-type$/i.test(name) && /^text\/event-stream\b/i.test(value),
  );
}

/** Header lines that say how the answer came about. */
function extraOf({ start, phases }: Answered): string {
  let timing = "";
  for (const [name, ms] of Object.entries(phases)) {
    timing += `${timing === "" ? "" : ", "}spore-${name};dur=${ms.toFixed(2)}`;
  }
  const line = timing === "" ? "" : `server-timing: ${timing}\r\n`;
  return `x-spore-start: ${start}\r\n${line}`;
}

/** An answer without what only the gateway may say. */
function own(head: ResponseHead): ResponseHead {
  const says = ([name]: Header): boolean => name.length === 13 && /^x-spore-(start|error)$/i.test(name);
  return head.headers.some(says)
    ? { ...head, headers: head.headers.filter((header) => !says(header)) }
    : head;
}

/** What the gateway says itself. */
const replaced: ReadonlySet<string> = new Set([
  "x-forwarded-proto",
  "x-forwarded-host",
  "x-spore-start",
  "traceparent",
]);

/** The head of the request as the app gets it. */
function requestText(inbound: Inbound, { traceparent, keepsState }: Context): string {
  const { request, peer, secure } = inbound;
  let text = `${request.method} ${request.path} HTTP/1.1\r\nhost: ${request.authority}\r\n`;
  let forwarded = peer;
  for (const [name, value] of request.headers) {
    const lower = name.length < 18 ? name.toLowerCase() : name;
    if (lower === "x-forwarded-for") forwarded = `${value}, ${peer}`;
    else if (replaced.has(lower) || (lower === "tracestate" && !keepsState)) continue;
    else text += `${name}: ${value}\r\n`;
  }
  text += `x-forwarded-for: ${forwarded}\r\nx-forwarded-proto: ${secure ? "https" : "http"}\r\n`;
  text += `traceparent: ${traceparent}\r\n`;
  text += framingText(request.framing);
  text += request.upgrade === null ? "" : `connection: upgrade\r\nupgrade: ${request.upgrade}\r\n`;
  return `${text}\r\n`;
}

function framingText(framing: Framing): string {
  // Content-Length is among the headers.
  return framing.kind === "chunked" ? "transfer-encoding: chunked\r\n" : "";
}

function tooLarge(): Refusal {
  return new Refusal(413, "SPORE_REQUEST_INVALID", "the body is larger than the app takes");
}

function asRefusal(thrown: unknown): Refusal {
  if (thrown instanceof Refusal) return thrown;
  return new Refusal(500, "SPORE_INTERNAL", thrown instanceof Error ? thrown.message : String(thrown));
}
