/** The gateway: listens, and hands every connection to its protocol. */

import { createServer, type Server, type Socket } from "node:net";
import { type ConnectionShared, Http1Connection } from "./http1.ts";
import type { Address, Answered, Router } from "./target.ts";
import { Upstreams } from "./upstream.ts";

/** What a gateway is made of. */
export interface GatewayOptions {
  readonly router: Router;
  /** Told of every answer. */
  readonly answered?: (what: Answered) => void;
}

/** A running gateway. */
export class Gateway {
  readonly #upstreams = new Upstreams();
  readonly #shared: ConnectionShared;
  readonly #servers: Server[] = [];
  readonly #connections = new Set<Http1Connection>();
  readonly #sockets = new Set<Socket>();
  #closing = false;

  constructor({ router, answered = () => {} }: GatewayOptions) {
    this.#shared = { router, answered, upstreams: this.#upstreams, closing: () => this.#closing };
  }

  /** Listens; gives the port. Rejects as `net.Server` does. */
  listen(address: Address): Promise<number> {
    // Not half open: a client that has closed its side waits for nothing any more.
    const server = createServer({ noDelay: true, pauseOnConnect: false }, (socket) => this.#onHttp(socket));
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

  #onHttp(socket: Socket): void {
    this.#sockets.add(socket);
    const connection = new Http1Connection(socket, this.#shared, false);
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

  /** Takes no new connections, lets answers end within `graceMs`, and closes. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    const closed = this.#servers.map(
      (server) => new Promise<void>((resolve) => void server.close(() => resolve())),
    );
    for (const connection of this.#connections) connection.closeIfIdle();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    await Promise.all(closed);
    clearTimeout(timer);
    this.#upstreams.closeAll();
  }
}
