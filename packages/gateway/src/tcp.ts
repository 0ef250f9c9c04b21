/** TCP services on a port of their own: a connection waits while its instance wakes. */

import { connect, type Socket } from "node:net";
import { splice } from "./splice.ts";
import { type Caller, type Lease, Refusal, type Target } from "./target.ts";

/** An instance that is gone when it is connected to is replaced so many times. */
const ATTEMPTS = 4;
const KEEP_ALIVE_MS = 60_000;

/** Carries one connection of a client to an instance. What the client sends first waits in the kernel. */
export function carryTcp(client: Socket, target: Target): void {
  client.setNoDelay(true);
  // A client that is gone without a word is noticed.
  client.setKeepAlive(true, KEEP_ALIVE_MS);
  client.on("error", () => {});
  const caller: Caller = { onGone: null };
  client.once("close", () => caller.onGone?.());
  void attempt(client, target, caller, ATTEMPTS);
}

async function attempt(client: Socket, target: Target, caller: Caller, left: number): Promise<void> {
  let lease: Lease;
  try {
    lease = await target.acquire(caller);
  } catch {
    // There is no answer that every protocol would understand.
    client.destroy();
    return;
  }
  if (client.destroyed) {
    lease.release();
    return;
  }
  // Either side may end what it says and still listen.
  const app = connect({ ...lease.address, noDelay: true, allowHalfOpen: true });
  const refused = async (): Promise<void> => {
    const how = await lease.started;
    lease.unreachable();
    if (left > 1 && !client.destroyed && !(how instanceof Refusal))
      void attempt(client, target, caller, left - 1);
    else client.destroy();
  };
  let open = true;
  app.on("error", () => {});
  app.once("close", () => {
    if (open) void refused();
    open = false;
  });
  app.once("connect", async () => {
    // What the client says is read once: not before somebody is there to hear it.
    if (lease.started !== null && (await lease.started) !== "runs") app.destroy();
    if (!open || app.destroyed) return;
    open = false;
    splice(
      client,
      app,
      { toClient: null, toApp: null },
      {
        idleMs: target.connectionIdleMs,
        rest: () => lease.rest(),
        resume: () => lease.resume(),
        leaving: () => lease.leaving(),
        done: () => lease.release(),
      },
    );
  });
}
