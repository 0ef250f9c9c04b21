/** Two connections made one: WebSockets and TCP services. */

import type { Socket } from "node:net";

/** What came on a connection before it was spliced. */
export interface Ahead {
  readonly toClient: Buffer | null;
  readonly toApp: Buffer | null;
}

/**
 * Carries bytes both ways until both sides have ended; an end is passed on, an
 * abort ends both. `done` is called once.
 */
export function splice(client: Socket, app: Socket, ahead: Ahead, done: () => void): void {
  carry(client, app, ahead.toApp);
  carry(app, client, ahead.toClient);
  let open = 2;
  const closed = (): void => {
    open -= 1;
    client.destroy();
    app.destroy();
    if (open === 0) done();
  };
  for (const socket of [client, app]) {
    if (socket.closed) closed();
    else socket.once("close", closed);
  }
}

function carry(from: Socket, to: Socket, ahead: Buffer | null): void {
  if (ahead !== null) to.write(ahead);
  from.on("data", (bytes: Buffer) => {
    if (!to.write(bytes)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => to.end());
  from.on("error", () => {});
  from.resume();
}
