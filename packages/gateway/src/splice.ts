/** Two connections made one: WebSockets and TCP services. */

import type { Socket } from "node:net";
import { Frames, goingAway } from "./frames.ts";

/** How long one side may take for what the other said last. */
const LINGER_MS = 5000;

/** What came on a connection before it was spliced. */
export interface Ahead {
  readonly toClient: Buffer | null;
  readonly toApp: Buffer | null;
}

/** What a spliced connection is told of and tells. */
export interface Holder {
  /** Without traffic for so long, it rests; null: never. */
  readonly idleMs: number | null;
  rest(): void;
  resume(): void;
  /** The instance was told to stop. */
  leaving(): boolean;
  /** The app's side is closed. */
  done(): void;
}

/** Two connections that are one. */
export interface Splice {
  /** The gateway goes away: a WebSocket is closed as soon as the frame that is under way is through. */
  leave(): void;
}

/**
 * Carries bytes both ways until both sides have ended; an end is passed on, an abort
 * ends both. `websocket`: a client whose app is stopped without a word is told so.
 */
export function splice(
  client: Socket,
  app: Socket,
  ahead: Ahead,
  holder: Holder,
  websocket: boolean = false,
): Splice {
  let resting = false;
  const { idleMs } = holder;
  const timer =
    idleMs === null
      ? null
      : setTimeout(() => {
          resting = true;
          holder.rest();
        }, idleMs).unref();
  const traffic = (): void => {
    timer?.refresh();
    if (resting) holder.resume();
    resting = false;
  };
  const farewell = websocket ? new Farewell(client, app, holder) : null;
  carry(client, app, ahead.toApp, traffic, (bytes) => app.write(bytes));
  carry(app, client, ahead.toClient, traffic, (bytes) => farewell?.write(bytes) ?? client.write(bytes));
  if (farewell !== null) {
    app.prependListener("end", () => farewell.say());
    // There is no half of a WebSocket.
    app.on("end", () => app.end());
  }
  whenClosed(client, () => {
    if (timer !== null) clearTimeout(timer);
    letGo(app, client.readableEnded);
  });
  whenClosed(app, () => {
    if (timer !== null) clearTimeout(timer);
    letGo(client, farewell?.say() === true || app.readableEnded);
    holder.done();
  });
  return { leave: () => farewell?.leave() };
}

/** What a client hears of a WebSocket whose app does not say itself that it goes. */
class Farewell {
  readonly #frames = new Frames();
  readonly #client: Socket;
  readonly #app: Socket;
  readonly #holder: Holder;
  #leaves = false;
  #said = false;

  constructor(client: Socket, app: Socket, holder: Holder) {
    this.#client = client;
    this.#app = app;
    this.#holder = holder;
  }

  /** Passes on what the app says; false: wait for `drain`. */
  write(bytes: Buffer): boolean {
    if (this.#said) return true;
    const end = this.#frames.take(bytes);
    if (!this.#leaves || end < 0) return this.#client.write(bytes);
    this.#client.write(bytes.subarray(0, end));
    this.#close();
    return true;
  }

  /** The app has ended. True if the client was told that it goes away. */
  say(): boolean {
    if (!this.#said && this.#holder.leaving() && this.#frames.between) this.#close();
    return this.#said;
  }

  leave(): void {
    this.#leaves = true;
    if (this.#frames.between) this.#close();
  }

  #close(): void {
    this.#said = true;
    if (!this.#frames.closed && this.#client.writable) this.#client.end(goingAway);
    this.#app.end();
  }
}

function whenClosed(socket: Socket, then: () => void): void {
  if (socket.closed) then();
  else socket.once("close", then);
}

/** The other side is closed: at its end, what it said last still goes out. */
function letGo(socket: Socket, ended: boolean): void {
  if (socket.destroyed) return;
  if (!ended) {
    socket.destroy();
    return;
  }
  socket.end();
  // What comes now has nobody to go to, but must be read: else the peer may lose what is on its way.
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once("close", () => clearTimeout(timer));
  if (socket.readableEnded) socket.destroySoon();
}

function carry(
  from: Socket,
  to: Socket,
  ahead: Buffer | null,
  traffic: () => void,
  write: (bytes: Buffer) => boolean,
): void {
  if (ahead !== null) write(ahead);
  from.on("data", (bytes: Buffer) => {
    if (!to.writable) return;
    traffic();
    if (!write(bytes)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => to.end());
  from.on("error", () => {});
  from.resume();
}
