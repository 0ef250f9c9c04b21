/** What each route of the API does. */

import { X509Certificate } from "node:crypto";
import type {
  Crash,
  Deployment,
  Domain,
  Event,
  Flag,
  Instance,
  LogLine,
  Page,
  Project,
  Token,
} from "@spore/api";
import { sporeError } from "@spore/errors";
import type { Authority } from "../authority.ts";
import type { Apps } from "../cloud/apps.ts";
import type { Domains } from "../cloud/domains.ts";
import type { Flags } from "../cloud/flags.ts";
import type { Grants } from "../cloud/internal.ts";
import type { Possessions } from "../cloud/possessions.ts";
import type { Storage } from "../cloud/storage.ts";
import { type Identity, type Scope, type Tenants, within } from "../cloud/tenants.ts";
import type { Urls } from "../cloud/urls.ts";
import type { Events, Whose } from "../events.ts";
import type { Fleet } from "../fleet/fleet.ts";
import type { Images } from "../images.ts";
import type { Logs } from "../logs/logs.ts";
import type { Metrics } from "../metrics.ts";
import type { Secrets } from "../secrets.ts";
import { type DeploymentRecord, namedKey, type Store, type TokenRecord } from "../store/types.ts";
import type { Handlers, Stream, Streams } from "./call.ts";

/** What handlers are made of. */
export interface HandlerParts {
  readonly store: Store;
  readonly events: Events;
  readonly apps: Apps;
  readonly fleet: Fleet;
  readonly images: Images;
  readonly possessions: Possessions;
  readonly logs: Logs;
  readonly flags: Flags;
  readonly secrets: Secrets;
  readonly tenants: Tenants;
  readonly domains: Domains;
  readonly storage: Storage;
  readonly urls: Urls;
  readonly grants: Grants;
  readonly metrics: Pick<Metrics, "list">;
  readonly authority: () => Authority;
  readonly home: string;
  readonly version: string;
}

const PAGE = 100;

/** The handlers. */
export function handlers(parts: HandlerParts): Handlers {
  return {
    ...imageHandlers(parts),
    ...appHandlers(parts),
    ...configurationHandlers(parts),
    ...seeingHandlers(parts),
    ...tenantHandlers(parts),
    ...domainHandlers(parts),
  };
}

function imageHandlers({
  images,
  possessions,
  apps,
  fleet,
  home,
  version,
  urls,
  authority,
  storage,
  metrics,
}: HandlerParts) {
  const startedAt = Date.now();
  return {
    status: ({ sees }) => {
      const own = new Set(apps.list(sees, null, 1_000_000).map(({ name }) => name));
      return {
        version,
        pid: sees === null ? process.pid : null,
        home: sees === null ? home : null,
        startedAt,
        gateway: urls.gateway,
        apps: own.size,
        instances: [...fleet.members.values()].filter(({ app }) => own.has(app)).length,
      };
    },
    getMetrics: async ({ sees }) => {
      const own = sees === null ? null : new Set(apps.list(sees, null, 1_000_000).map(({ name }) => name));
      return { metrics: await metrics.list(own) };
    },
    getAuthority: () => {
      const { domain, certificate } = authority();
      return { domain, certificate, fingerprint: new X509Certificate(certificate).fingerprint256 };
    },
    missingBlobs: ({ body, who }) => ({ missing: possessions.missing(who.tenant, body.digests) }),
    putBlob: async ({ params: { digest }, body, who }) => {
      const length = await images.putBlob(digest, body, await storage.room(who.tenant));
      storage.uploaded(who.tenant, length);
      possessions.note(who.tenant, digest);
      return { digest, length };
    },
    putImage: async ({ params: { digest }, who }) => {
      possessions.check(who.tenant, digest);
      return { digest, name: (await images.open(digest)).name };
    },
  } satisfies Partial<Handlers>;
}

function appHandlers({ apps, images, possessions, urls, store, storage }: HandlerParts) {
  const view = (record: DeploymentRecord): Deployment => {
    const { canary: _, ...rest } = record;
    return { ...rest, url: urls.app({ name: record.app }) };
  };
  return {
    listApps: ({ query: { after = null, limit = PAGE, project = null }, sees }) =>
      page(apps.list(sees, after, limit, project), limit, (app) => app.name, apps.view.bind(apps)),
    getApp: ({ params, sees }) => apps.view(apps.get(params.app, sees)),
    changeApp: ({ params, body, sees }) => apps.view(apps.change(params.app, sees, body)),
    deleteApp: ({ params, sees }) => {
      apps.remove(params.app, sees);
      return { name: params.app };
    },
    deploy: async ({ params, body, who, commit }) => {
      possessions.check(who.tenant, body.image);
      const image = await images.open(body.image);
      await storage.admitDeploy(who.tenant, body.image);
      return commit(() => view(apps.deploy(params.app, who, body, image)));
    },
    listReleases: ({ params, query: { after, limit = PAGE }, sees }) =>
      page(
        apps.releases(params.app, sees, after === undefined ? null : Number(after), limit),
        limit,
        (release) => String(release.number),
        apps.viewRelease.bind(apps),
      ),
    getRelease: ({ params, sees }) => apps.viewRelease(apps.release(params.app, sees, params.release)),
    rollback: ({ params, body, sees, commit }) =>
      commit(() => view(apps.rollback(params.app, sees, body.release ?? null))),
    promote: ({ params, sees, commit }) => commit(() => view(apps.promote(params.app, sees))),
    getDeployment: ({ params, sees }) => {
      const record = store.get("deployments", params.id);
      if (record === null) throw sporeError("SPORE_NOT_FOUND", { what: `deployment ${params.id}` });
      apps.get(record.app, sees);
      return view(record);
    },
    changeEnv: ({ params, body: { set = {}, unset = [] }, sees, commit }) =>
      commit(() => view(apps.changeEnv(params.app, sees, { set, unset }))),
    getEnv: ({ params, sees }) => ({ env: apps.env(params.app, sees) }),
  } satisfies Partial<Handlers>;
}

function configurationHandlers({ apps, secrets, flags, urls }: HandlerParts) {
  return {
    listSecrets: ({ params, sees }) => {
      apps.get(params.app, sees);
      const current = secrets.current(params.app);
      return { secrets: current.map(({ name, current: version }) => ({ name, version })) };
    },
    changeSecrets: async ({ params, body: { set = {}, unset = [] }, sees, commit }) => {
      apps.get(params.app, sees);
      const put = await secrets.seal(set);
      return commit(() => {
        // It may have been removed while they were sealed.
        apps.get(params.app, sees);
        put(params.app);
        for (const name of unset) secrets.unset(params.app, name);
        const record = apps.renewSecrets(params.app, sees);
        if (record === null) return { deployment: null };
        const { canary: _, ...rest } = record;
        return { deployment: { ...rest, url: urls.app({ name: params.app }) } };
      });
    },
    listFlags: ({ params, sees }) => {
      apps.get(params.app, sees);
      return { flags: flags.list(params.app) };
    },
    putFlag: ({ params, body, sees }): Flag => {
      apps.get(params.app, sees);
      return flags.put(params.app, params.key, body);
    },
    deleteFlag: ({ params, sees }) => {
      apps.get(params.app, sees);
      flags.remove(params.app, params.key);
      return { key: params.key };
    },
    evaluateFlag: ({ params, sees }) => {
      apps.get(params.app, sees);
      return flags.evaluate(params.app, params.key);
    },
    evaluateFlags: ({ params, sees }) => {
      apps.get(params.app, sees);
      return { flags: flags.list(params.app).map(({ key }) => flags.evaluate(params.app, key)) };
    },
  } satisfies Partial<Handlers>;
}

function seeingHandlers({ apps, fleet, store, logs }: HandlerParts) {
  const visible = (id: string, sees: Scope | null): Instance => {
    const instance = fleet.instance(id);
    if (instance === null) throw sporeError("SPORE_NOT_FOUND", { what: `instance ${id}` });
    apps.get(instance.app, sees);
    return instance;
  };
  return {
    listInstances: ({ query: { app, all = false, after = null, limit = PAGE }, sees }) => {
      if (app !== undefined) apps.get(app, sees);
      const ids = all ? store.list("instances").map(({ id }) => id) : [...fleet.members.keys()].sort();
      const found = ids
        .filter((id) => after === null || id > after)
        .flatMap((id) => fleet.instance(id) ?? [])
        .filter((instance) => app === undefined || instance.app === app)
        .filter((instance) => {
          const its = store.get("apps", instance.app);
          return sees === null || (its !== null && within(sees, its));
        });
      return page(found.slice(0, limit), limit, ({ id }) => id, same<Instance>);
    },
    getInstance: ({ params, sees }) => visible(params.id, sees),
    stopInstance: ({ params, sees }) => {
      visible(params.id, sees);
      fleet.drain(params.id, "requested");
      return visible(params.id, sees);
    },
    listCrashes: ({ params: { app }, query: { after = null, limit = PAGE }, sees }) => {
      apps.get(app, sees);
      const from = after === null ? null : namedKey(app, after);
      const found = store.list("crashes", { prefix: `${app}/`, after: from, limit });
      return page(found, limit, ({ id }) => id, same<Crash>);
    },
    getCrash: ({ params: { id }, sees }) => {
      const found = store.list("crashes").find((crash) => crash.id === id);
      if (found === undefined) throw sporeError("SPORE_NOT_FOUND", { what: `crash of instance ${id}` });
      apps.get(found.app, sees);
      return found;
    },
    listEvents: ({ query: { after = 0, limit = PAGE, app = null }, sees }) =>
      page(store.events({ after, limit, app, ...sees }), limit, ({ seq }) => String(seq), same<Event>),
    readLogs: ({ params, query: { after, last, limit = PAGE }, sees }) => {
      apps.get(params.app, sees);
      const start = after ?? Math.max(0, logs.last(params.app) - (last ?? Number.MAX_SAFE_INTEGER));
      return page(logs.read(params.app, start, limit), limit, ({ seq }) => String(seq), same<LogLine>);
    },
  } satisfies Partial<Handlers>;
}

function tenantHandlers({ tenants }: HandlerParts) {
  return {
    listTokens: ({ query: { after = null, limit = PAGE }, who }) =>
      page(tenants.tokens(who, after, limit), limit, ({ id }) => id, tokenOf),
    createToken: async ({ body, who }) => {
      const { name, role, tenant = who.tenant, project = who.project } = body;
      if (who.role !== "operator" && (tenant !== who.tenant || role === "operator")) {
        throw sporeError("SPORE_FORBIDDEN", {
          problem: "only an operator makes tokens of other tenants and operators",
        });
      }
      if (who.project !== null && project !== who.project) throw limited(who);
      if (role === "operator" && project !== null) {
        throw sporeError("SPORE_CONFLICT", { problem: "an operator is not limited to a project" });
      }
      return await tenants.createToken(name, role, { tenant, project });
    },
    deleteToken: ({ params, sees }) => {
      tenants.removeToken(params.id, sees);
      return { id: params.id };
    },
    listProjects: ({ query: { after = null, limit = PAGE }, who }) =>
      page(tenants.projects(who, after, limit), limit, ({ name }) => name, same<Project>),
    putProject: ({ params, who }) => {
      if (who.project !== null && who.project !== params.project) throw limited(who);
      return tenants.putProject(who.tenant, params.project);
    },
    deleteProject: ({ params, who }) => {
      if (who.project !== null) throw limited(who);
      tenants.removeProject(who.tenant, params.project);
      return { name: params.project };
    },
    listTenants: ({ query: { after = null, limit = PAGE } }) =>
      page(
        tenants.list(after, limit),
        limit,
        ({ name }) => name,
        (tenant) => tenant,
      ),
    putTenant: ({ params, body }) => tenants.put(params.tenant, body.quotas ?? {}, body.ports),
    deleteTenant: ({ params }) => {
      tenants.remove(params.tenant);
      return { name: params.tenant };
    },
  } satisfies Partial<Handlers>;
}

function domainHandlers({ domains, tenants }: HandlerParts) {
  return {
    listDomains: ({ query: { after = null, limit = PAGE }, sees }) =>
      page(domains.list(sees, after, limit), limit, ({ name }) => name, same<Domain>),
    putDomain: async ({ params: { domain }, body: { tenant }, who }) => {
      const whose = tenants.get(tenant ?? who.tenant).name;
      if (who.role === "operator") return domains.grant(domain, whose);
      if (whose !== who.tenant) {
        throw sporeError("SPORE_FORBIDDEN", { problem: "only an operator gives domains to other tenants" });
      }
      return await domains.prove(domain, whose);
    },
    deleteDomain: ({ params: { domain }, sees }) => {
      domains.remove(domain, sees);
      return { name: domain };
    },
  } satisfies Partial<Handlers>;
}

/** The handlers of routes that answer with events. */
export function streams({ apps, events, store, logs }: HandlerParts): Streams {
  return {
    followEvents: ({ query: { after, app = null }, sees }, stream) => {
      if (app !== null) apps.get(app, sees);
      const send = (event: Event, { tenant, project }: Whose): void => {
        const seen = sees === null || (tenant !== null && within(sees, { tenant, project }));
        if ((app === null || event.app === app) && seen) stream.send(event.seq, event);
      };
      // Old and new without a gap: nothing happens between these lines.
      if (after !== undefined)
        replay(stream, after, (from) => store.events({ after: from, limit: 1000, app, ...sees }));
      stream.onClose(events.follow(send));
    },
    followLogs: ({ params: { app }, query: { after, last }, sees }, stream) => {
      apps.get(app, sees);
      const start = after ?? Math.max(0, logs.last(app) - (last ?? 0));
      replay(stream, start, (from) => logs.read(app, from, 1000));
      const end = logs.follow(app, (lines) => {
        for (const line of lines) stream.send(line.seq, line);
      });
      stream.onClose(end);
    },
  };
}

function replay<T extends { readonly seq: number }>(
  stream: Stream<T>,
  after: number,
  read: (after: number) => readonly T[],
): void {
  let from = after;
  for (;;) {
    const found = read(from);
    for (const item of found) if (!stream.send(item.seq, item)) return;
    const last = found.at(-1);
    if (last === undefined || last.seq <= from) return;
    from = last.seq;
  }
}

function page<R, T>(
  records: readonly R[],
  limit: number,
  key: (record: R) => string,
  view: (record: R) => T,
): Page<T> {
  const last = records.at(-1);
  return {
    items: records.map(view),
    next: records.length < limit || last === undefined ? null : key(last),
  };
}

function limited({ project }: Identity): Error {
  return sporeError("SPORE_FORBIDDEN", { problem: `the token is for the project ${project} alone` });
}

function same<T>(value: T): T {
  return value;
}

function tokenOf({ salt: _, hash: __, ...token }: TokenRecord): Token {
  return token;
}
