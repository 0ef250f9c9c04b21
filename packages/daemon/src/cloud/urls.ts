/** Host names: which app and release each one means. */

import type { AppRecord, Store } from "../store/types.ts";

/** Where a host name leads. */
export interface Place {
  readonly app: string;
  /** A release of a preview; null: whatever is live. */
  readonly release: number | null;
}

interface Route {
  readonly path: string;
  readonly app: string;
}

/** The names under a base domain, and the domains of apps. */
export class Urls {
  readonly #store: Store;
  readonly #base: string;
  /** Scheme and port, as clients see them. */
  #scheme = "http";
  #port = "";
  /** By host, the longest path first. */
  #domains = new Map<string, Route[]>();

  constructor(store: Store, base: string) {
    this.#store = store;
    this.#base = base;
    this.refresh();
  }

  /** Where the gateway listens. */
  at(scheme: "http" | "https", port: number): void {
    this.#scheme = scheme;
    this.#port = port === (scheme === "http" ? 80 : 443) ? "" : `:${port}`;
  }

  /** The gateway's own address. */
  get gateway(): string {
    return `${this.#scheme}://${this.#base}${this.#port}`;
  }

  app({ name }: Pick<AppRecord, "name">): string {
    return `${this.#scheme}://${name}.${this.#base}${this.#port}`;
  }

  preview(app: string, release: number): string {
    return `${this.#scheme}://r${release}.${app}.${this.#base}${this.#port}`;
  }

  /** Whether a domain is one that Spore gives itself. */
  isOwn(domain: string): boolean {
    return domain === this.#base || domain.endsWith(`.${this.#base}`);
  }

  /** Domains have changed. */
  refresh(): void {
    this.#domains = new Map();
    for (const { name, settings } of this.#store.list("apps")) {
      for (const domain of settings.domains) {
        const host = hostOfDomain(domain);
        const routes = this.#domains.get(host) ?? [];
        routes.push({ path: domain.slice(host.length), app: name });
        routes.sort((one, other) => other.path.length - one.path.length);
        this.#domains.set(host, routes);
      }
    }
  }

  /** What a host name and a path mean; null if nothing. */
  find(host: string, path: string): Place | null {
    const routed = this.#routed(host, path);
    if (routed !== undefined) return { app: routed, release: null };
    const own = `.${this.#base}`;
    if (host.endsWith(own)) {
      const labels = host.slice(0, -own.length).split(".");
      const [first = "", second] = labels;
      if (labels.length === 1) return { app: first, release: null };
      const number = /^r([1-9][0-9]{0,8})$/.exec(first)?.[1];
      if (labels.length === 2 && second !== undefined && number !== undefined) {
        return { app: second, release: Number(number) };
      }
      return null;
    }
    const app = this.#routed(`*.${host.slice(host.indexOf(".") + 1)}`, path);
    return app === undefined ? null : { app, release: null };
  }

  #routed(host: string, path: string): string | undefined {
    return this.#domains.get(host)?.find((route) => isBelow(path, route.path))?.app;
  }
}

/** The host of a domain that may have a path. */
export function hostOfDomain(domain: string): string {
  const slash = domain.indexOf("/");
  return slash < 0 ? domain : domain.slice(0, slash);
}

/** Whether a path is another or below it: `/api` and `/api/v1`, not `/apis`. */
function isBelow(path: string, prefix: string): boolean {
  if (!path.startsWith(prefix)) return false;
  const next = path[prefix.length];
  return prefix === "" || next === undefined || next === "/" || next === "?";
}
