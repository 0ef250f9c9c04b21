/**
 * Whose domains are: an app gets the requests of one only if its tenant has it,
 * by proof (a TXT record that only the daemon can have asked for) or by the word
 * of an operator. Who has a domain has what is below it, unless that is another's.
 */

import { Resolver } from "node:dns/promises";
import type { Domain } from "@spore/api";
import { sporeError } from "@spore/errors";
import type { Events } from "../events.ts";
import type { Store } from "../store/types.ts";
import type { Grants } from "./internal.ts";
import { type Scope, within } from "./tenants.ts";
import { hostOfDomain } from "./urls.ts";

/** What it is made of. */
export interface DomainParts {
  readonly store: Store;
  readonly events: Events;
  readonly grants: Pick<Grants, "fingerprint">;
}

/** The TXT records of a name; rejects as Node.js' resolver does. */
export type Lookup = (name: string) => Promise<readonly (readonly string[])[]>;

const LOOKUP = { timeout: 3000, tries: 2 };

/** Where a proof is looked for. */
const PROOF_NAME = "_spore";

/** The domains of all tenants. */
export class Domains {
  readonly #parts: DomainParts;
  readonly #lookup: Lookup;

  constructor(parts: DomainParts, lookup: Lookup = (name) => new Resolver(LOOKUP).resolveTxt(name)) {
    this.#parts = parts;
    this.#lookup = lookup;
    // An earlier daemon asked nobody for a proof: what is used stays.
    for (const { tenant, settings } of parts.store.list("apps")) {
      for (const domain of settings.domains) {
        const host = nameOf(domain);
        if (!isFree(host) && this.#owner(host) === null) this.#put(host, tenant, "granted");
      }
    }
  }

  list(sees: Scope | null, after: string | null, limit: number): readonly Domain[] {
    return this.#parts.store
      .list("domains", { after })
      .filter(({ tenant }) => sees === null || sees.tenant === tenant)
      .slice(0, limit);
  }

  /** Throws unless an app of the tenant may have the domain; an operator's word gives it. */
  admit(domain: string, tenant: string, operator: boolean): void {
    const host = nameOf(domain);
    if (isFree(host)) return;
    const owner = this.#owner(host);
    if (owner?.tenant === tenant) return;
    if (owner !== null) throw taken(host);
    if (operator) this.#put(host, tenant, "granted");
    else throw unproved(host, tenant, `prove it: \`spore domain ${host}\``);
  }

  /** Gives a domain to a tenant. */
  grant(name: string, tenant: string): Domain {
    return this.#put(name, tenant, "granted");
  }

  /** Gives a domain to a tenant that has set the record; says which one if it has not. */
  async prove(name: string, tenant: string): Promise<Domain> {
    const owner = this.#parts.store.get("domains", name);
    if (owner?.tenant === tenant) return owner;
    if (owner !== null) throw taken(name);
    const place = `${PROOF_NAME}.${name}`;
    const proof = `spore=${this.#parts.grants.fingerprint(`domain ${tenant} ${name}`)}`;
    const records = await this.#lookup(place).catch((thrown: NodeJS.ErrnoException) => {
      if (thrown.code === "ENOTFOUND" || thrown.code === "ENODATA") return [];
      const problem = `the records of ${place} cannot be looked up: ${thrown.message}`;
      throw sporeError("SPORE_FORBIDDEN", { problem }, { next: "try again later, or ask an operator" });
    });
    if (!records.some((parts) => parts.join("") === proof)) {
      throw unproved(name, tenant, `set a TXT record of ${place} to "${proof}", and say it again`);
    }
    // It may have been another's by now.
    const since = this.#parts.store.get("domains", name);
    if (since !== null && since.tenant !== tenant) throw taken(name);
    return this.#put(name, tenant, "proved");
  }

  /** Takes a domain away that no app has. */
  remove(name: string, sees: Scope | null): void {
    const { store, events } = this.#parts;
    const found = store.get("domains", name);
    if (found === null || !within(sees, { ...found, project: null })) {
      throw sporeError("SPORE_NOT_FOUND", { what: `domain ${name}` });
    }
    const user = store
      .list("apps")
      .find(({ settings }) => settings.domains.some((domain) => this.#owner(nameOf(domain))?.name === name));
    if (user !== undefined) {
      throw sporeError("SPORE_CONFLICT", { problem: `the app ${user.name} has the domain ${name}` });
    }
    store.delete("domains", name);
    store.durable();
    events.tell("domain.removed", { tenant: found.tenant }, { domain: name });
  }

  #put(name: string, tenant: string, how: Domain["how"]): Domain {
    const { store, events } = this.#parts;
    const domain: Domain = { name, tenant, how, createdAt: Date.now() };
    store.put("domains", name, domain);
    store.durable();
    events.tell("domain.added", { tenant }, { domain: name, how });
    return domain;
  }

  /** The nearest at or above a host. */
  #owner(host: string): Domain | null {
    for (let name = host; name !== ""; name = name.slice(name.indexOf(".") + 1)) {
      const found = this.#parts.store.get("domains", name);
      if (found !== null || !name.includes(".")) return found;
    }
    return null;
  }
}

/** The name that has to be somebody's: a wildcard is what is below one. */
function nameOf(domain: string): string {
  return hostOfDomain(domain).replace(/^\*\./, "");
}

/** Names that lead to the client's own machine are nobody's. */
function isFree(host: string): boolean {
  return host === "localhost" || host.endsWith(".localhost");
}

function taken(name: string): Error {
  return sporeError("SPORE_CONFLICT", { problem: `the domain ${name} is taken` });
}

function unproved(name: string, tenant: string, next: string): Error {
  return sporeError("SPORE_FORBIDDEN", { problem: `nothing shows that ${name} is ${tenant}'s` }, { next });
}
