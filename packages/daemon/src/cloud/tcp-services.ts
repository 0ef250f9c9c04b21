/** Ports of apps that speak TCP: they listen as long as the app wants them to. */

import type { Gateway } from "@spore/gateway";
import type { Events } from "../events.ts";
import type { Store } from "../store/types.ts";
import type { CloudRouter } from "./router.ts";

/** What the services are made of. */
export interface TcpParts {
  readonly store: Store;
  readonly events: Events;
  readonly router: CloudRouter;
  readonly gateway: Gateway;
  /** Address that they listen on. */
  readonly host: string;
}

/** Events after which a port may have to listen, or not any more. */
const changes = /^(app\.(changed|removed)|deployment\.created)$/;

/** Keeps the listening ports as the settings say. */
export class TcpServices {
  readonly #parts: TcpParts;
  readonly #open = new Map<string, { readonly port: number; close(): void }>();

  constructor(parts: TcpParts) {
    this.#parts = parts;
  }

  /** Listens for all apps that want it, from now on. */
  async start(): Promise<void> {
    const { store, events } = this.#parts;
    events.follow(({ app, kind }) => {
      if (app !== null && changes.test(kind)) void this.refresh(app);
    });
    for (const { name } of store.list("apps")) await this.refresh(name);
  }

  /** Settings of an app have changed; a port that cannot be had is told of. */
  async refresh(app: string): Promise<void> {
    const { store, events, router, gateway, host } = this.#parts;
    const record = store.get("apps", app);
    const wanted = record?.settings.tcp ?? null;
    const open = this.#open.get(app);
    if (open?.port === (wanted ?? undefined)) return;
    open?.close();
    this.#open.delete(app);
    if (wanted === null) return;
    // Taken at once: another change may come while it begins to listen.
    this.#open.set(app, { port: wanted, close: () => {} });
    try {
      this.#open.set(app, await gateway.listenTcp({ host, port: wanted }, router.live(app)));
    } catch (thrown) {
      this.#open.delete(app);
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      events.tell("tcp.refused", { tenant: record?.tenant ?? null, app }, { port: wanted, why });
    }
  }
}
