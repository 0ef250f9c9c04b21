/** Host names: which app and release each one means. */

import type { AppRecord, Store } from "../store/types.ts";

/** Where a host name leads. */
export interface Place {
  readonly app: string;
  /** A release of a preview; null: whatever is live. */
  readonly release: number | null;
}

/** The names under a base domain, and the domains of apps. */
export class Urls {
  readonly #store: Store;
  readonly #base: string;
  /** Scheme and port, as clients see them. */
  #scheme = "http";
  #port = "";
  #domains = new Map<string, string>();

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
      for (const domain of settings.domains) this.#domains.set(domain, name);
    }
  }

  /** What a host name means; null if nothing. */
  find(host: string): Place | null {
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
    const app = this.#domains.get(host) ?? this.#domains.get(`*.${host.slice(host.indexOf(".") + 1)}`);
    return app === undefined ? null : { app, release: null };
  }
}
