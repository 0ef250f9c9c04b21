/** Two connections made one: WebSockets and TCP services. */

import type { Socket } from "node:net";

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
  /** Both sides are closed. */
  done(): void;
}

/**
 * Carries bytes both ways until both sides have ended; an end is passed on, an
 * abort ends both.
 */
export function splice(client: Socket, app: Socket, ahead: Ahead, holder: Holder): void {
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
  carry(client, app, ahead.toApp, traffic);
  carry(app, client, ahead.toClient, traffic);
  let open = 2;
  const closed = (): void => {
    open -= 1;
    client.destroy();
    app.destroy();
    if (timer !== null) clearTimeout(timer);
    if (open === 0) holder.done();
  };
  for (const socket of [client, app]) {
    if (socket.closed) closed();
    else socket.once("close", closed);
  }
}

function carry(from: Socket, to: Socket, ahead: Buffer | null, traffic: () => void): void {
  if (ahead !== null) to.write(ahead);
  from.on("data", (bytes: Buffer) => {
    traffic();
    if (!to.write(bytes)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => to.end());
  from.on("error", () => {});
  from.resume();
}
