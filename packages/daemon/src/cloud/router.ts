/** What the gateway asks: from a host name to the pool that answers. */

import type { AppSettings } from "@spore/api";
import { type Caller, type Lease, Refusal, type Router, type Target } from "@spore/gateway";
import type { Fleet } from "../fleet/fleet.ts";
import { releaseKey, type Store } from "../store/types.ts";
import type { Tenants } from "./tenants.ts";
import type { Urls } from "./urls.ts";

/** What a router is made of. */
export interface RouterParts {
  readonly store: Store;
  readonly fleet: Fleet;
  readonly urls: Urls;
  readonly tenants: Tenants;
}

/** Routes of an app, until something of it changes. */
interface Route {
  readonly live: Target | null;
  readonly canary: Target | null;
  readonly percent: number;
  readonly tenant: string;
}

/** Looks up every request, so that a change of the live release holds for the next one. */
export class CloudRouter implements Router {
  readonly #parts: RouterParts;
  readonly #routes = new Map<string, Route>();
  readonly #previews = new Map<string, Target>();

  constructor(parts: RouterParts) {
    this.#parts = parts;
  }

  /** Something of the app has changed. */
  forget(app: string): void {
    this.#routes.delete(app);
    for (const key of this.#previews.keys()) if (key.startsWith(`${app}/`)) this.#previews.delete(key);
  }

  find(host: string, path: string): Target | null {
    const place = this.#parts.urls.find(host, path);
    if (place === null) return null;
    return place.release === null ? this.app(place.app) : this.#preview(place.app, place.release);
  }

  /** Who answers the next request for an app. */
  app(name: string): Target | null {
    const route = this.#routes.get(name) ?? this.#load(name);
    if (route === null) return null;
    this.#parts.tenants.admitRequest(route.tenant);
    const { canary } = route;
    return canary !== null && Math.random() * 100 < route.percent ? canary : route.live;
  }

  /** Whoever is live of an app, whenever it is asked: for services without host names. */
  live(name: string): Target {
    const route = (): Route | null => this.#routes.get(name) ?? this.#load(name);
    return {
      name: `${name}/0`,
      requestTimeoutMs: 0,
      bodyLimit: null,
      get connectionIdleMs() {
        return route()?.live?.connectionIdleMs ?? null;
      },
      acquire: (caller) => {
        const found = route();
        if (found?.live == null) throw new Refusal(503, "SPORE_NO_APP", `${name} has no release yet`, 2);
        this.#parts.tenants.admitRequest(found.tenant);
        return found.live.acquire(caller);
      },
    };
  }

  #load(name: string): Route | null {
    const app = this.#parts.store.get("apps", name);
    if (app === null) return null;
    const route: Route = {
      live: app.live === null ? null : this.#target(name, app.live, app.settings),
      canary: app.canary === null ? null : this.#target(name, app.canary.release, app.settings),
      percent: app.canary?.percent ?? 0,
      tenant: app.tenant,
    };
    this.#routes.set(name, route);
    return route;
  }

  #preview(app: string, release: number): Target | null {
    const key = releaseKey(app, release);
    const { store, tenants } = this.#parts;
    const record = store.get("apps", app);
    if (record === null) return null;
    tenants.admitRequest(record.tenant);
    const known = this.#previews.get(key);
    if (known !== undefined) return known;
    if (store.get("releases", key) === null) return null;
    const target = this.#target(app, release, record.settings);
    this.#previews.set(key, target);
    return target;
  }

  #target(app: string, release: number, settings: AppSettings): Target {
    const { fleet } = this.#parts;
    return {
      name: `${app}/${release}`,
      requestTimeoutMs: settings.requestTimeoutMs,
      bodyLimit: settings.bodyLimit,
      connectionIdleMs: settings.connectionIdleMs,
      acquire: (caller: Caller): Lease | Promise<Lease> => fleet.pool(app, release).acquire(caller),
    };
  }
}
