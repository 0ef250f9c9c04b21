/** The gateway: listens, and hands every connection to its protocol. */

import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type SecureContext, type TLSSocket } from "node:tls";
import { type ConnectionShared, Http1Connection } from "./http1.ts";
import type { Http2Sessions } from "./http2.ts";
import type { Address, Answered, Finished, Router, Target } from "./target.ts";
import { carryTcp } from "./tcp.ts";
import { Upstreams } from "./upstream.ts";

/** What a gateway is made of. */
export interface GatewayOptions {
  readonly router: Router;
  /** Told of every answer. */
  readonly answered?: (what: Answered) => void;
  /** Told of every request at its end. With it, the gateway has spans of its own in every trace. */
  readonly finished?: ((what: Finished) => void) | null;
  /** A client that takes nothing of its answer for so long is cut off, in milliseconds. Default: a minute. */
  readonly stalledMs?: number;
  /** How long the head of a request may take from its first byte, in milliseconds. Default: half a minute. */
  readonly headMs?: number;
}

/** Certificates by host name. */
export interface Certificates {
  /** For clients that name no host. */
  readonly usual: { readonly cert: string; readonly key: string };
  /** For a host; null: the usual one. */
  find(host: string): SecureContext | null;
}

/** Of every connection of a client; one that is gone without a word is noticed. */
const usual = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 } as const;

/** A running gateway. */
export class Gateway {
  readonly #upstreams = new Upstreams();
  readonly #shared: ConnectionShared;
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Http1Connection>();
  readonly #sockets = new Set<Socket>();
  #http2: Http2Sessions | null = null;
  #closing = false;

  constructor({
    router,
    answered = () => {},
    finished = null,
    stalledMs = 60_000,
    headMs = 30_000,
  }: GatewayOptions) {
    this.#shared = {
      router,
      answered,
      finished,
      stalledMs,
      headMs,
      upstreams: this.#upstreams,
      closing: () => this.#closing,
      http2: (socket, bytes) => void this.#onHttp2(socket, bytes),
    };
  }

  /** Listens; gives the port. Rejects as `net.Server` does. */
  listen(address: Address): Promise<number> {
    // Not half open: a client that has closed its side waits for nothing any more.
    const server = createServer({ ...usual, pauseOnConnect: false }, (socket) => this.#onHttp(socket, false));
    return this.#listen(server, address);
  }

  /** The same with TLS; clients may choose HTTP/2. */
  async listenTls(address: Address, certificates: Certificates): Promise<number> {
    await this.#http2Sessions();
    const server = createTlsServer(
      {
        ...certificates.usual,
        ...usual,
        minVersion: "TLSv1.2",
        ALPNProtocols: ["h2", "http/1.1"],
        SNICallback: (host, done) => done(null, certificates.find(host.toLowerCase()) ?? undefined),
      },
      (socket) => this.#onTls(socket),
    );
    server.on("tlsClientError", (_error, socket) => socket.destroy());
    return await this.#listen(server, address);
  }

  /** Listens for a TCP service; what it gives ends that. */
  async listenTcp(address: Address, target: Target): Promise<{ readonly port: number; close(): void }> {
    const server = createServer({ noDelay: true, pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      this.carry(socket, target);
    });
    const port = await this.#listen(server, address);
    return {
      port,
      close: () => {
        server.close();
        this.#servers.splice(this.#servers.indexOf(server), 1);
      },
    };
  }

  /** Takes a connection that somebody else has accepted; `peer` is told to apps as the client's address. */
  serve(socket: Socket, router: Router, peer: string): void {
    this.#onHttp(socket, false, { ...this.#shared, router }, peer);
    socket.resume();
  }

  /** The same for one that is not HTTP. */
  carry(socket: Socket, target: Target): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    carryTcp(socket, target);
  }

  #onTls(socket: TLSSocket): void {
    socket.on("error", () => {});
    if (socket.alpnProtocol !== "h2") {
      this.#onHttp(socket, true);
      return;
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    this.#http2?.take(socket);
  }

  /** Loaded when somebody speaks it. */
  async #http2Sessions(): Promise<Http2Sessions> {
    const { Http2Sessions } = await import("./http2.ts");
    this.#http2 ??= new Http2Sessions(this.#shared);
    return this.#http2;
  }

  /** A client that speaks HTTP/2 without TLS and without asking. */
  async #onHttp2(socket: Socket, bytes: Buffer): Promise<void> {
    socket.pause();
    const sessions = await this.#http2Sessions();
    if (socket.destroyed) return;
    socket.unshift(bytes);
    sessions.take(socket);
  }

  #listen(server: Server, address: Address): Promise<number> {
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address.host, port: address.port, backlog: 4096 }, () => {
        server.off("error", reject);
        const bound = server.address();
        resolve(typeof bound === "object" && bound !== null ? bound.port : address.port);
      });
    });
  }

  #onHttp(socket: Socket, secure: boolean, shared: ConnectionShared = this.#shared, peer?: string): void {
    this.#sockets.add(socket);
    const connection = new Http1Connection(socket, shared, secure, peer);
    this.#connections.add(connection);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.#connections.delete(connection);
    });
  }

  /** An instance goes to sleep: nothing idle may lead to it. */
  forget(address: Address): void {
    this.#upstreams.close(address);
  }

  /**
   * Takes no new connections, lets answers end within `graceMs`, and closes. Streams of
   * events and WebSockets end at once, in their own ways, and HTTP/2 is told to open no more streams.
   */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    const closed = this.#servers.map(
      (server) => new Promise<void>((resolve) => void server.close(() => resolve())),
    );
    for (const connection of this.#connections) connection.leave();
    this.#http2?.leave();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    await Promise.all(closed);
    clearTimeout(timer);
    this.#upstreams.closeAll();
  }
}
