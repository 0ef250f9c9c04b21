/** Connections to instances: opened when needed, kept while the app keeps them. */

import { connect, type Socket } from "node:net";
import { BodyReader } from "./body.ts";
import { broken, HEAD_LIMIT, type Header, parseResponse, type ResponseHead } from "./head.ts";
import { type Address, Refusal } from "./target.ts";

/** Node.js closes an idle connection after 5 s: not to be caught by it, the gateway is earlier. */
const IDLE_MS = 4000;
const SWEEP_MS = 1000;
/** After so long, an idle connection is looked at before it is used. */
const RESTED_MS = 20;

/** Who gets what an instance answers. */
export interface AnswerSink {
  /** 1xx. */
  interim(head: ResponseHead): void;
  head(head: ResponseHead): void;
  data(bytes: Buffer): void;
  /** No more comes in this turn of the event loop. */
  flush(): void;
  end(trailers: readonly Header[]): void;
  /** 101: the connection is the caller's from now on; `rest` came behind the head. */
  upgraded(head: ResponseHead, socket: Socket, rest: Buffer | null): void;
  /** More of the request may be written. */
  drained(): void;
  /** Nobody listens; nothing has reached the app. */
  unreachable(): void;
  failed(why: Refusal): void;
  /** The answer has not begun in time. */
  late(): void;
}

/** One connection to an instance; one request at a time. */
export class UpstreamConnection {
  readonly socket: Socket;
  readonly #pool: Upstreams;
  readonly key: string;
  #sink: AnswerSink | null = null;
  #method = "";
  #connected = false;
  #rest: Buffer | null = null;
  #head: ResponseHead | null = null;
  #body: BodyReader | null = null;
  #sent = false;
  /** Runs on when the answer has come: to start one for each request costs more. */
  #limit: NodeJS.Timeout | null = null;
  #limitMs = 0;
  #expecting = false;
  /** When an idle connection is closed. */
  expires = 0;
  /** Since when it is idle. */
  since = 0;

  constructor(pool: Upstreams, key: string, address: Address) {
    this.#pool = pool;
    this.key = key;
    this.socket = connect({ host: address.host, port: address.port, noDelay: true });
    this.socket.on("connect", () => {
      this.#connected = true;
    });
    this.socket.on("data", (bytes: Buffer) => this.#onData(bytes));
    this.socket.on("drain", () => this.#sink?.drained());
    this.socket.on("error", () => {});
    this.socket.on("end", () => this.#onEnd());
    this.socket.on("close", () => this.#onClose());
  }

  /** It may have been closed meanwhile, and the news of it be on its way. */
  get rested(): boolean {
    return this.since > 0 && performance.now() - this.since > RESTED_MS;
  }

  /** Nothing speaks against sending a request. */
  get usable(): boolean {
    return !this.socket.destroyed && this.socket.writable && !this.socket.readableEnded;
  }

  /** Sends the head of a request; `sink` gets the answer. */
  begin(head: string, method: string, sink: AnswerSink): void {
    this.#sink = sink;
    this.#method = method;
    this.#sent = false;
    this.socket.write(head, "latin1");
  }

  /** The answer is to begin within so many milliseconds. */
  expect(ms: number): void {
    this.#expecting = true;
    if (this.#limit !== null && this.#limitMs === ms) {
      this.#limit.refresh();
      return;
    }
    if (this.#limit !== null) clearTimeout(this.#limit);
    this.#limitMs = ms;
    this.#limit = setTimeout(() => {
      if (this.#expecting) this.#sink?.late();
    }, ms).unref();
  }

  /** As many from now on: there was more of the request. */
  expectMore(): void {
    if (this.#expecting) this.#limit?.refresh();
  }

  /** Writes of the body; false: wait for `drained`. */
  write(bytes: Buffer | string): boolean {
    return this.socket.write(bytes, "latin1");
  }

  /** All of the request has been written. */
  sent(): void {
    this.#sent = true;
    this.#finish();
  }

  /** The answer is of no use any more. */
  abandon(): void {
    this.#sink = null;
    this.#expecting = false;
    this.socket.destroy();
  }

  #onData(bytes: Buffer): void {
    if (this.#sink === null) {
      // Nobody asked: whatever it is, it must not become part of another answer.
      this.socket.destroy();
      return;
    }
    try {
      this.#take(bytes);
      this.#sink?.flush();
    } catch (thrown) {
      this.#fail(thrown instanceof Refusal ? thrown : broken(String(thrown)));
    }
  }

  #take(bytes: Buffer): void {
    let rest: Buffer | null = this.#rest === null ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#rest = null;
    while (rest !== null && this.#body === null) {
      const end: number = rest.indexOf("\r\n\r\n");
      if (end > HEAD_LIMIT || (end < 0 && rest.length > HEAD_LIMIT)) {
        throw broken("the headers of the app's answer are too long");
      }
      if (end < 0) {
        this.#rest = rest;
        return;
      }
      const head = parseResponse(rest.toString("latin1", 0, end), this.#method);
      rest = rest.length > end + 4 ? rest.subarray(end + 4) : null;
      if (this.#onHead(head, rest)) return;
    }
    if (rest !== null && this.#body !== null) {
      if (this.#body.feed(rest) !== null) throw broken("the app answered more than it was asked");
    }
  }

  /** True if the connection is not HTTP any more. */
  #onHead(head: ResponseHead, rest: Buffer | null): boolean {
    const sink = this.#sink;
    if (sink === null) return true;
    if (head.status === 101) {
      this.#sink = null;
      this.#stopWaiting();
      this.socket.removeAllListeners("data").removeAllListeners("end").removeAllListeners("drain");
      sink.upgraded(head, this.socket, rest);
      return true;
    }
    if (head.status < 200) {
      sink.interim(head);
      return false;
    }
    this.#expecting = false;
    this.#head = head;
    this.#body = new BodyReader(
      head.framing,
      {
        data: (bytes) => this.#sink?.data(bytes),
        end: (trailers) => this.#onBodyEnd(trailers),
      },
      broken,
    );
    sink.head(head);
    this.#body.begin();
    return this.#sink === null;
  }

  #onBodyEnd(trailers: readonly Header[]): void {
    this.#sink?.end(trailers);
    this.#finish();
  }

  /** Gives the connection back once both directions are done. */
  #finish(): void {
    if (this.#head === null || !this.#body?.ended || this.#sink === null) return;
    if (!this.#sent || !this.#head.keepAlive || this.#rest !== null) {
      // A request that the app did not read to its end: the next would be taken for the rest of it.
      this.abandon();
      return;
    }
    const timeout = this.#head.keepAliveTimeout;
    this.#sink = null;
    this.#head = null;
    this.#body = null;
    if (this.socket.isPaused()) this.socket.resume();
    const idle = timeout === null ? IDLE_MS : Math.min(timeout * 1000 - 1000, 60_000);
    this.#pool.keep(this, idle);
  }

  #onEnd(): void {
    if (this.#body?.close() === true) return;
    this.socket.destroy();
  }

  #stopWaiting(): void {
    this.#expecting = false;
    if (this.#limit !== null) clearTimeout(this.#limit);
    this.#limit = null;
  }

  #onClose(): void {
    this.#stopWaiting();
    this.#pool.forget(this);
    if (this.#sink === null) return;
    if (!this.#connected) {
      const sink = this.#sink;
      this.#sink = null;
      sink.unreachable();
      return;
    }
    this.#fail(new Refusal(502, "SPORE_APP_ANSWER", "the app closed the connection before it had answered"));
  }

  #fail(why: Refusal): void {
    const sink = this.#sink;
    this.abandon();
    sink?.failed(why);
  }
}

/** The idle connections. */
export class Upstreams {
  readonly #idle = new Map<string, UpstreamConnection[]>();
  /** Names of addresses, which live as long as their instances. */
  readonly #keys = new WeakMap<Address, string>();
  #sweeper: NodeJS.Timeout | null = null;

  /** A connection to `address`: one that is idle, or a new one. */
  take(address: Address): UpstreamConnection {
    const key = this.#keyOf(address);
    const idle = this.#idle.get(key);
    for (let found = idle?.pop(); found !== undefined; found = idle?.pop()) {
      if (found.usable) return found;
    }
    return new UpstreamConnection(this, key, address);
  }

  /**
   * The same, for `then`; one that has been idle for a while only after the event
   * loop has heard all news: an instance that has just ended must not cost a request.
   */
  open(address: Address, then: (connection: UpstreamConnection) => void): void {
    const connection = this.take(address);
    if (!connection.rested) {
      then(connection);
      return;
    }
    // The second comes after the loop has polled.
    setImmediate(() => {
      setImmediate(() => {
        if (connection.usable) then(connection);
        else this.open(address, then);
      });
    });
  }

  #keyOf(address: Address): string {
    const known = this.#keys.get(address);
    if (known !== undefined) return known;
    const key = `${address.host}:${address.port}`;
    this.#keys.set(address, key);
    return key;
  }

  /** Keeps a connection for the next request. */
  keep(connection: UpstreamConnection, idleMs: number): void {
    if (idleMs <= 0 || connection.socket.destroyed || connection.socket.readableEnded) {
      connection.socket.destroy();
      return;
    }
    connection.since = performance.now();
    connection.expires = connection.since + idleMs;
    const idle = this.#idle.get(connection.key);
    if (idle === undefined) this.#idle.set(connection.key, [connection]);
    else idle.push(connection);
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** A connection is gone. */
  forget(connection: UpstreamConnection): void {
    const idle = this.#idle.get(connection.key);
    const index = idle?.indexOf(connection) ?? -1;
    if (index >= 0) idle?.splice(index, 1);
    if (idle?.length === 0) this.#idle.delete(connection.key);
  }

  /** Closes what is idle towards an instance that goes to sleep. */
  close(address: Address): void {
    const key = this.#keyOf(address);
    for (const connection of this.#idle.get(key) ?? []) connection.socket.destroy();
    this.#idle.delete(key);
  }

  /** Closes everything that is idle. */
  closeAll(): void {
    for (const idle of this.#idle.values()) for (const { socket } of idle) socket.destroy();
    this.#idle.clear();
    if (this.#sweeper !== null) clearInterval(this.#sweeper);
    this.#sweeper = null;
  }

  #sweep(): void {
    const now = performance.now();
    for (const [key, idle] of this.#idle) {
      const left = idle.filter((connection) => {
        if (connection.expires > now) return true;
        connection.socket.destroy();
        return false;
      });
      if (left.length === 0) this.#idle.delete(key);
      else if (left.length !== idle.length) this.#idle.set(key, left);
    }
    if (this.#idle.size === 0 && this.#sweeper !== null) {
      clearInterval(this.#sweeper);
      this.#sweeper = null;
    }
  }
}
