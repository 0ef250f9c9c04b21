/**
 * The flags of an app, for the app itself: OFREP at http://spore.internal, with no
 * token, since its monitor has said whose connection it is.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { asSporeError, sporeError } from "@spore/errors";
import { isOfrep, keyOf, ofrepFailure, tagOf } from "../http/ofrep.ts";
import { statusOf } from "../http/status.ts";
import type { Flags } from "./flags.ts";

/** What an evaluation may say of its context. */
const BODY_LIMIT = 64 << 10;

/** Answers apps. */
export class InternalFlags {
  readonly #flags: Flags;
  readonly #server: Server;
  readonly #apps = new WeakMap<Socket, string>();

  constructor(flags: Flags) {
    this.#flags = flags;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  /** Takes a connection of an app. */
  serve(socket: Socket, app: string): void {
    this.#apps.set(socket, app);
    this.#server.emit("connection", socket);
    socket.resume();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { url = "", method } = request;
    const key = keyOf(url);
    let length = 0;
    request.on("data", (bytes: Buffer) => {
      length += bytes.length;
      if (length > BODY_LIMIT) request.destroy();
    });
    request.on("end", () => {
      try {
        if (method !== "POST" || !isOfrep(url))
          throw sporeError("SPORE_NOT_FOUND", { what: `${method} ${url.slice(0, 200)}` });
        this.#send(request, response, this.#evaluate(this.#apps.get(request.socket) ?? "", key));
      } catch (thrown) {
        const error = asSporeError(thrown);
        response.writeHead(statusOf(error.code), { "content-type": "application/json" });
        response.end(JSON.stringify(ofrepFailure(error, key)));
      }
    });
  }

  #evaluate(app: string, key: string | undefined): object {
    if (key !== undefined) return this.#flags.evaluate(app, decodeURIComponent(key));
    return { flags: this.#flags.list(app).map((flag) => this.#flags.evaluate(app, flag.key)) };
  }

  #send(request: IncomingMessage, response: ServerResponse, value: object): void {
    const etag = tagOf(value);
    const known = request.headers["if-none-match"] === etag;
    response.writeHead(known ? 304 : 200, { "content-type": "application/json", etag });
    response.end(known ? undefined : JSON.stringify(value));
  }
}
