/** Tenants: what each may use, and who speaks for it. */

import { createHash, randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import type { Change, NewToken, PortRange, Project, Quotas, Role } from "@spore/api";
import { sporeError } from "@spore/errors";
import { Refusal } from "@spore/gateway";
import type { Events } from "../events.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { newId } from "../fleet/fleet.ts";
import { namedKey, type Store, type TenantRecord, type TokenRecord } from "../store/types.ts";

/** The tenant of whoever uses the daemon's own socket. */
export const OWN_TENANT = "default";

/** The project of an app for which none is named. */
export const FIRST_PROJECT = "default";

/** A tenant, or one of its projects. */
export interface Scope {
  readonly tenant: string;
  /** null: all of them. */
  readonly project: string | null;
}

/** Who asks. */
export interface Identity extends Scope {
  readonly role: Role;
}

/** Whether something of a tenant's project is within what may be seen; null: everything is. */
export function within(sees: Scope | null, { tenant, project }: Scope): boolean {
  return sees === null || (sees.tenant === tenant && (sees.project === null || sees.project === project));
}

const noQuotas: Quotas = {
  apps: null,
  instances: null,
  memory: null,
  cpu: null,
  storage: null,
  wakesPerMinute: null,
  requestsPerMinute: null,
};
const ALL_PORTS: PortRange = { from: 1, to: 65_535 };
const MINUTE_MS = 60_000;
/** Tokens that were verified are remembered, by a digest, for so long. */
const VERIFIED_MS = 300_000;

/** Tokens that are verified at a time: each takes a thread for a while. */
const VERIFYING = 8;

/** Counts of one tenant in the current minute. */
interface Usage {
  minute: number;
  wakes: number;
  requests: number;
}

/** Tenants, their quotas and tokens. */
export class Tenants {
  readonly #store: Store;
  readonly #events: Events;
  readonly #usage = new Map<string, Usage>();
  readonly #quotas = new Map<string, Quotas>();
  #verifying = 0;
  readonly #verified = new Map<string, { readonly token: TokenRecord; readonly until: number }>();

  constructor(store: Store, events: Events) {
    this.#store = store;
    this.#events = events;
    if (store.get("tenants", OWN_TENANT) === null) {
      const about = { quotas: noQuotas, ports: ALL_PORTS, createdAt: Date.now() };
      store.put("tenants", OWN_TENANT, { name: OWN_TENANT, ...about });
    }
    // An earlier daemon gave ports to all.
    for (const tenant of store.list("tenants")) {
      if (tenant.ports === undefined) store.put("tenants", tenant.name, { ...tenant, ports: ALL_PORTS });
    }
    // An earlier daemon knew of no projects.
    for (const token of store.list("tokens")) {
      if (token.project === undefined) store.put("tokens", token.id, { ...token, project: null });
    }
  }

  get(name: string): TenantRecord {
    const tenant = this.#store.get("tenants", name);
    if (tenant === null) throw sporeError("SPORE_NOT_FOUND", { what: `tenant ${name}` });
    return tenant;
  }

  list(after: string | null, limit: number): readonly TenantRecord[] {
    return this.#store.list("tenants", { after, limit });
  }

  put(name: string, quotas: Change<Quotas>, ports?: PortRange | null): TenantRecord {
    if (ports != null && ports.from > ports.to) {
      throw sporeError("SPORE_CONFLICT", { problem: "ports.from is above ports.to" });
    }
    const before = this.#store.get("tenants", name);
    const said = Object.entries(quotas).filter(([, value]) => value !== undefined);
    const next: TenantRecord = {
      name,
      quotas: { ...(before?.quotas ?? noQuotas), ...(Object.fromEntries(said) as Partial<Quotas>) },
      ports: ports === undefined ? (before?.ports ?? null) : ports,
      createdAt: before?.createdAt ?? Date.now(),
    };
    this.#store.put("tenants", name, next);
    this.#store.durable();
    this.#quotas.delete(name);
    this.#events.tell(before === null ? "tenant.created" : "tenant.changed", { tenant: name });
    return next;
  }

  remove(name: string): void {
    this.get(name);
    if (name === OWN_TENANT) throw sporeError("SPORE_CONFLICT", { problem: "the first tenant stays" });
    if (this.#store.list("apps").some(({ tenant }) => tenant === name)) {
      throw sporeError("SPORE_CONFLICT", { problem: `tenant ${name} has apps` });
    }
    for (const domain of this.#store.list("domains")) {
      if (domain.tenant === name) this.#store.delete("domains", domain.name);
    }
    const all: Scope = { tenant: name, project: null };
    for (const token of this.tokens(all, null, 1_000_000)) this.removeToken(token.id, all);
    for (const { name: project } of this.#store.list("projects", { prefix: `${name}/` })) {
      this.#store.delete("projects", namedKey(name, project));
    }
    for (const { digest } of this.#store.list("uploads", { prefix: `${name}/` })) {
      this.#store.delete("uploads", namedKey(name, digest));
    }
    this.#store.delete("tenants", name);
    this.#store.durable();
    this.#quotas.delete(name);
    this.#events.tell("tenant.removed", { tenant: name });
  }

  /** A project of a tenant; the first is always there. */
  project(tenant: string, name: string): Project {
    const { createdAt } = this.get(tenant);
    const first = name === FIRST_PROJECT ? { name, tenant, createdAt } : null;
    const found = first ?? this.#store.get("projects", namedKey(tenant, name));
    if (found === null) {
      const next = `make it first: \`spore project ${name}\``;
      throw sporeError("SPORE_NOT_FOUND", { what: `project ${name}` }, { next });
    }
    return found;
  }

  /** The projects within a scope, by name. */
  projects({ tenant, project }: Scope, after: string | null, limit: number): readonly Project[] {
    const made = this.#store.list("projects", { prefix: `${tenant}/` });
    return [this.project(tenant, FIRST_PROJECT), ...made]
      .filter(({ name }) => (project === null || name === project) && (after === null || name > after))
      .sort((one, other) => (one.name < other.name ? -1 : 1))
      .slice(0, limit);
  }

  /** Makes a project, if there is none of the name. */
  putProject(tenant: string, name: string): Project {
    const key = namedKey(tenant, name);
    if (name !== FIRST_PROJECT && this.#store.get("projects", key) === null) {
      this.get(tenant);
      this.#store.put("projects", key, { name, tenant, createdAt: Date.now() });
      this.#store.durable();
      this.#events.tell("project.created", { tenant, project: name });
    }
    return this.project(tenant, name);
  }

  /** Removes a project that has no apps, with the tokens that are limited to it. */
  removeProject(tenant: string, name: string): void {
    this.project(tenant, name);
    if (name === FIRST_PROJECT) throw sporeError("SPORE_CONFLICT", { problem: "the first project stays" });
    if (this.#store.list("apps").some((app) => app.tenant === tenant && app.project === name)) {
      throw sporeError("SPORE_CONFLICT", { problem: `project ${name} has apps` });
    }
    const scope: Scope = { tenant, project: name };
    for (const token of this.tokens(scope, null, 1_000_000)) this.removeToken(token.id, scope);
    this.#store.delete("projects", namedKey(tenant, name));
    this.#store.durable();
    this.#events.tell("project.removed", { tenant, project: name });
  }

  /** What a tenant may have. */
  quotas(tenant: string): Quotas {
    const known = this.#quotas.get(tenant);
    if (known !== undefined) return known;
    // An earlier daemon did not know all of them.
    const quotas = { ...noQuotas, ...this.#store.get("tenants", tenant)?.quotas };
    this.#quotas.set(tenant, quotas);
    return quotas;
  }

  #usageOf(tenant: string): Usage {
    const minute = Math.floor(performance.now() / MINUTE_MS);
    const known = this.#usage.get(tenant);
    if (known?.minute === minute) return known;
    const fresh = { minute, wakes: 0, requests: 0 };
    this.#usage.set(tenant, fresh);
    return fresh;
  }

  /** Throws SPORE_QUOTA if the tenant has as many apps as it may. */
  admitApp(tenant: string): void {
    const limit = this.quotas(tenant).apps;
    if (limit === null) return;
    const count = this.#store.list("apps").filter((app) => app.tenant === tenant).length;
    if (count >= limit) throw sporeError("SPORE_QUOTA", { tenant, what: `${limit} apps` });
  }

  /** Throws unless the apps of a tenant may listen on a port of the host. */
  admitPort(tenant: string, port: number): void {
    const { ports } = this.get(tenant);
    if (ports !== null && port >= ports.from && port <= ports.to) return;
    const problem = `port ${port} is none of ${tenant}'s`;
    const next = `an operator gives it: \`spore tenant ${tenant} --ports ${port}\``;
    throw sporeError("SPORE_FORBIDDEN", { problem }, { next });
  }

  /** Counts a request; throws a `Refusal` if there were too many in this minute. */
  admitRequest(tenant: string): void {
    const limit = this.quotas(tenant).requestsPerMinute;
    if (limit === null) return;
    const usage = this.#usageOf(tenant);
    usage.requests += 1;
    if (usage.requests > limit) throw over("requests in this minute");
  }

  /** Counts a start; throws a `Refusal` if the tenant may have no more instances. */
  admitInstance(tenant: string, memory: number, fleet: Pick<Fleet, "members">): void {
    const { instances, memory: bytes, wakesPerMinute } = this.quotas(tenant);
    if (instances !== null || bytes !== null) {
      const running = this.#running(tenant, fleet);
      if (instances !== null && running.count >= instances) throw over("instances");
      if (bytes !== null && running.bytes + memory > bytes) throw over("memory");
    }
    if (wakesPerMinute === null) return;
    const usage = this.#usageOf(tenant);
    usage.wakes += 1;
    if (usage.wakes > wakesPerMinute) throw over("wakes in this minute");
  }

  /** Whether so many bytes of machines that stand by fit in beside a tenant's instances, of which one more has `memory`. */
  admitsStandby(tenant: string, bytes: () => number, memory: number, fleet: Pick<Fleet, "members">): boolean {
    const limit = this.quotas(tenant).memory;
    return limit === null || this.#running(tenant, fleet).bytes + memory + bytes() <= limit;
  }

  /** Instances of a tenant, and the bytes that their guests may have. */
  #running(
    tenant: string,
    fleet: Pick<Fleet, "members">,
  ): { readonly count: number; readonly bytes: number } {
    let [count, bytes] = [0, 0];
    for (const member of fleet.members.values()) {
      if (this.#store.get("apps", member.app)?.tenant !== tenant) continue;
      count += 1;
      bytes += member.memory;
    }
    return { count, bytes };
  }

  /** Makes a token; its secret is in the answer and nowhere else. */
  async createToken(name: string, role: Role, { tenant, project }: Scope): Promise<NewToken> {
    this.get(tenant);
    if (project !== null) this.project(tenant, project);
    const id = newId();
    const secret = randomBytes(24).toString("base64url");
    const salt = randomBytes(16).toString("hex");
    const hash = (await hashed(secret, salt)).toString("hex");
    const createdAt = Date.now();
    this.#store.put("tokens", id, { id, name, tenant, project, role, createdAt, salt, hash });
    this.#store.durable();
    this.#events.tell("token.created", { tenant }, { token: id, role });
    return { id, name, tenant, project, role, createdAt, secret: `spore_${id}_${secret}` };
  }

  tokens(sees: Scope, after: string | null, limit: number): readonly TokenRecord[] {
    return this.#store
      .list("tokens", { after })
      .filter((token) => within(sees, token))
      .slice(0, limit);
  }

  removeToken(id: string, sees: Scope | null): void {
    const token = this.#store.get("tokens", id);
    if (token === null || !within(sees, token)) {
      throw sporeError("SPORE_NOT_FOUND", { what: `token ${id}` });
    }
    this.#store.delete("tokens", id);
    this.#store.durable();
    this.#verified.clear();
    this.#events.tell("token.removed", { tenant: token.tenant }, { token: id });
  }

  /** Who a token speaks for; null if it is not one. */
  async verify(text: string): Promise<Identity | null> {
    const digest = createHash("sha256").update(text).digest("hex");
    const known = this.#verified.get(digest);
    if (known !== undefined && known.until > performance.now()) return known.token;
    const [, id = "", secret = ""] = /^spore_([a-z0-9-]{1,64})_([A-Za-z0-9_-]{32})$/.exec(text) ?? [];
    const token = this.#store.get("tokens", id);
    // Guessing costs time, and must not take it from everybody else.
    if (this.#verifying >= VERIFYING) {
      throw new Refusal(429, "SPORE_QUOTA", "too many tokens are verified at this moment", 1);
    }
    this.#verifying += 1;
    // As much work for an unknown token as for a known one.
    const hash = await hashed(secret, token?.salt ?? "0".repeat(32)).finally(() => {
      this.#verifying -= 1;
    });
    if (token === null || !timingSafeEqual(hash, Buffer.from(token.hash, "hex"))) return null;
    if (this.#verified.size > 10_000) this.#verified.clear();
    this.#verified.set(digest, { token, until: performance.now() + VERIFIED_MS });
    return token;
  }
}

function over(what: string): Refusal {
  return new Refusal(429, "SPORE_QUOTA", `the tenant has used up its ${what}`, 10);
}

function hashed(secret: string, salt: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(secret, Buffer.from(salt, "hex"), 32, { N: 2 ** 14, r: 8, p: 1 }, (error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
}
