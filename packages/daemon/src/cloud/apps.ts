/** Apps and their releases: everything that changes them goes through here. */

import type { App, AppSettings, AppSettingsChange, Change, Release, ReleaseConfig } from "@spore/api";
import { sporeError } from "@spore/errors";
import type { Image } from "@spore/image";
import type { Events } from "../events.ts";
import type { Fleet } from "../fleet/fleet.ts";
import type { Images } from "../images.ts";
import type { Logs } from "../logs/logs.ts";
import type { Preparations } from "../prepared.ts";
import type { Secrets } from "../secrets.ts";
import { Snapshots } from "../snapshots.ts";
import {
  type AppRecord,
  type DeploymentRecord,
  namedKey,
  type ReleaseRecord,
  releaseKey,
  type Store,
} from "../store/types.ts";
import type { Domains } from "./domains.ts";
import type { Possessions } from "./possessions.ts";
import type { Rollouts } from "./rollouts.ts";
import { FIRST_PROJECT, type Identity, type Scope, type Tenants, within } from "./tenants.ts";
import { hostOfDomain, type Urls } from "./urls.ts";

/** What apps are made of. */
export interface AppsParts {
  readonly store: Store;
  readonly events: Events;
  readonly fleet: Fleet;
  readonly images: Images;
  readonly possessions: Possessions;
  readonly secrets: Secrets;
  readonly preparations: Preparations;
  readonly snapshots: Snapshots;
  readonly logs: Logs;
  readonly rollouts: Rollouts;
  readonly tenants: Tenants;
  readonly domains: Domains;
  readonly urls: Urls;
}

/** What a new app has. */
export const defaultSettings: AppSettings = {
  scaling: {
    min: 0,
    max: 4,
    concurrency: 200,
    target: null,
    burst: 0,
    windowMs: 60_000,
    panicWindowMs: 6000,
    idleMs: 30_000,
  },
  domains: [],
  tcp: null,
  network: { allow: null },
  startTimeoutMs: 30_000,
  requestTimeoutMs: 60_000,
  bodyLimit: null,
  drainTimeoutMs: 30_000,
  connectionIdleMs: 60_000,
  keepConnections: false,
};

const emptyConfig: ReleaseConfig = {
  env: {},
  secrets: {},
  args: null,
  cwd: null,
  memory: null,
  port: null,
  health: null,
  ready: "listen",
  snapshot: true,
};

/** What a deploy says. */
export interface DeployRequest {
  readonly image: string;
  readonly project?: string | undefined;
  readonly config?: Change<Omit<ReleaseConfig, "secrets">> | undefined;
  readonly settings?: AppSettingsChange | undefined;
  readonly canary?: number | undefined;
  readonly fresh?: boolean | undefined;
}

/** The apps of all tenants. Every call names what may be seen; `null`: all of it. */
export class Apps {
  readonly #parts: AppsParts;

  constructor(parts: AppsParts) {
    this.#parts = parts;
    this.#completeSettings();
  }

  /** An earlier daemon did not know all settings of today. */
  #completeSettings(): void {
    const { store } = this.#parts;
    for (const app of store.list("apps")) {
      const scaling = { ...defaultSettings.scaling, ...app.settings.scaling };
      const settings = { ...defaultSettings, ...app.settings, scaling };
      const next = { ...app, project: app.project ?? FIRST_PROJECT, settings };
      if (JSON.stringify(next) !== JSON.stringify(app)) store.put("apps", app.name, next);
    }
  }

  /** The app, if the tenant may see it. */
  get(name: string, sees: Scope | null): AppRecord {
    const app = this.#parts.store.get("apps", name);
    // Somebody else's app is not found: its existence is nobody's business.
    if (app === null || !within(sees, app)) {
      throw sporeError("SPORE_NOT_FOUND", { what: `app ${name}` });
    }
    return app;
  }

  list(
    sees: Scope | null,
    after: string | null,
    limit: number,
    project: string | null = null,
  ): readonly AppRecord[] {
    const all = this.#parts.store.list("apps", { after });
    return all
      .filter((app) => within(sees, app) && (project === null || app.project === project))
      .slice(0, limit);
  }

  /** As the API tells of it. */
  view(app: AppRecord): App {
    const { fleet, urls } = this.#parts;
    const count = { starting: 0, ready: 0, draining: 0 };
    for (const member of fleet.members.values()) {
      if (member.app === app.name && member.state !== "stopped") count[member.state] += 1;
    }
    const { lastRelease: _, ...rest } = app;
    return { ...rest, url: urls.app(app), instances: count };
  }

  /** As the API tells of it. */
  viewRelease(release: ReleaseRecord): Release {
    const app = this.#parts.store.get("apps", release.app);
    const { urls } = this.#parts;
    return {
      ...release,
      live: app?.live === release.number,
      previewUrl: urls.preview(release.app, release.number),
    };
  }

  /** Makes a release of an image, and the app if there is none, and begins to roll it out. */
  deploy(
    name: string,
    who: Identity,
    wanted: DeployRequest,
    opened: Pick<Image, "name" | "defaults">,
  ): DeploymentRecord {
    const { store, rollouts, images } = this.#parts;
    if (!images.has(wanted.image)) {
      throw sporeError("SPORE_NOT_FOUND", { what: `image ${wanted.image}` }, { next: "upload it first" });
    }
    images.keep(wanted.image);
    const deployment = store.transaction(() => {
      const app = this.#deployed(name, who, wanted.project);
      const settings = merged(app.settings, wanted.settings);
      this.#checkNames(app, settings, who.role === "operator");
      const before = app.live === null ? null : store.get("releases", releaseKey(name, app.live));
      const config = { ...emptyConfig, ...before?.config, ...given(wanted.config) };
      const release = this.#release(
        { ...app, settings },
        {
          image: wanted.image,
          imageName: opened.name,
          memory: config.memory ?? opened.defaults.memory,
          config,
          cause: "deploy",
        },
      );
      if (before !== null && wanted.fresh !== true) this.#reuse(before, release);
      return rollouts.record(name, release.number, wanted.canary ?? null);
    });
    return this.#begin(deployment, who.tenant);
  }

  /** The app that a deploy is for, made if there is none. */
  #deployed(name: string, who: Identity, project: string | undefined): AppRecord {
    if (who.project !== null && project !== undefined && project !== who.project) {
      throw sporeError("SPORE_FORBIDDEN", { problem: `the token is for the project ${who.project} alone` });
    }
    const app = this.#parts.store.get("apps", name);
    if (app === null) return this.#create(name, who.tenant, project ?? who.project ?? FIRST_PROJECT);
    if (!within(who, app)) throw sporeError("SPORE_CONFLICT", { problem: `the name ${name} is taken` });
    if (project !== undefined && project !== app.project) {
      throw sporeError("SPORE_CONFLICT", { problem: `${name} is in the project ${app.project}` });
    }
    return app;
  }

  /** A release that is as the live one, but for its number, goes on from the same snapshot. */
  #reuse(before: ReleaseRecord, release: ReleaseRecord): void {
    const { store, snapshots } = this.#parts;
    if (!Snapshots.allowed(release) || frozenOf(before) !== frozenOf(release)) return;
    // Not before the number is this release's for good.
    store.after(() => snapshots.share(release.app, before.number, release.number));
  }

  #create(name: string, tenant: string, project: string): AppRecord {
    const { tenants } = this.#parts;
    tenants.project(tenant, project);
    tenants.admitApp(tenant);
    const app: AppRecord = {
      name,
      tenant,
      project,
      createdAt: Date.now(),
      live: null,
      canary: null,
      lastRelease: 0,
      settings: defaultSettings,
    };
    this.#parts.events.tell("app.created", { tenant, project, app: name });
    return app;
  }

  /** Records the next release of an app; its secrets are those of now. */
  #release(
    app: AppRecord,
    made: Pick<ReleaseRecord, "image" | "imageName" | "memory" | "config" | "cause">,
  ): ReleaseRecord {
    const { store, secrets } = this.#parts;
    const number = app.lastRelease + 1;
    const pointers = secrets.current(app.name).map(({ name, current }) => [name, current]);
    const config = { ...made.config, secrets: Object.fromEntries(pointers) as Record<string, number> };
    const release: ReleaseRecord = {
      ...made,
      config,
      app: app.name,
      number,
      state: "created",
      createdAt: Date.now(),
    };
    store.put("apps", app.name, { ...app, lastRelease: number });
    store.put("releases", releaseKey(app.name, number), release);
    return release;
  }

  #begin(deployment: DeploymentRecord, tenant: string): DeploymentRecord {
    const { store, events, rollouts, urls } = this.#parts;
    store.durable();
    store.after(() => urls.refresh());
    const { app, release, id } = deployment;
    events.tell("deployment.created", { tenant, app, release }, { deployment: id });
    // Not in this turn: whoever follows events hears of it from its start.
    setImmediate(() => rollouts.begin(deployment));
    return deployment;
  }

  /** Changes settings; they hold at once. */
  change(name: string, sees: Scope | null, change: AppSettingsChange): AppRecord {
    const { store, fleet, urls, events } = this.#parts;
    const changed = store.transaction(() => {
      const app = this.get(name, sees);
      const settings = merged(app.settings, change);
      this.#checkNames(app, settings, sees === null);
      const next = { ...app, settings };
      store.put("apps", name, next);
      return next;
    });
    store.durable();
    urls.refresh();
    for (const pool of fleet.pools(name)) {
      pool.minimum = pool.release === changed.live ? changed.settings.scaling.min : 0;
      pool.onSettings();
    }
    this.ensureMinimum(changed);
    // They were made for what the app could reach before.
    fleet.dismissAllBut(name, []);
    events.tell("app.changed", { tenant: changed.tenant, app: name });
    return changed;
  }

  /** Starts what `min` asks for. */
  ensureMinimum({ name, live, settings }: AppRecord): void {
    if (live === null || settings.scaling.min === 0) return;
    const pool = this.#parts.fleet.pool(name, live);
    pool.minimum = settings.scaling.min;
    pool.ensureMinimum();
  }

  /** Moves back to an earlier release. */
  rollback(name: string, sees: Scope | null, wanted: number | null): DeploymentRecord {
    const { store, rollouts } = this.#parts;
    const app = this.get(name, sees);
    // Back from a canary is the live release.
    const release = wanted ?? (app.canary === null ? this.#before(app) : app.live);
    const record = release === null ? null : store.get("releases", releaseKey(name, release));
    if (record === null || record.state === "failed") {
      const what =
        wanted === null ? `earlier release of ${name}` : `release ${wanted} of ${name} that is good`;
      throw sporeError("SPORE_NOT_FOUND", { what });
    }
    return this.#begin(
      store.transaction(() => rollouts.record(name, record.number, null)),
      app.tenant,
    );
  }

  /** The last release before the live one that was good. */
  #before(app: AppRecord): number | null {
    const good = this.#parts.store
      .list("releases", { prefix: `${app.name}/` })
      .filter(({ number, state }) => state === "ready" && number < (app.live ?? 0));
    return good.at(-1)?.number ?? null;
  }

  /** Gives all requests to the canary. */
  promote(name: string, sees: Scope | null): DeploymentRecord {
    const { store, rollouts } = this.#parts;
    const app = this.get(name, sees);
    const { canary } = app;
    if (canary === null) throw sporeError("SPORE_CONFLICT", { problem: `${name} has no canary` });
    return this.#begin(
      store.transaction(() => rollouts.record(name, canary.release, null)),
      app.tenant,
    );
  }

  /** A canary that does not do well gets no more requests. */
  returnCanary(name: string, why: string): void {
    const { store, events, fleet } = this.#parts;
    const app = store.get("apps", name);
    if (app?.canary == null) return;
    const { release } = app.canary;
    store.put("apps", name, { ...app, canary: null });
    store.durable();
    events.tell("canary.returned", { tenant: app.tenant, app: name, release }, { reason: why });
    fleet.retire(name, release, "superseded");
  }

  /** A new release of the same image with other variables. */
  changeEnv(
    name: string,
    sees: Scope | null,
    change: { readonly set?: Readonly<Record<string, string>>; readonly unset?: readonly string[] },
  ): DeploymentRecord {
    const app = this.get(name, sees);
    const live = this.#live(app);
    const unset = new Set(change.unset ?? []);
    const kept = Object.entries(live.config.env).filter(([key]) => !unset.has(key));
    const env = { ...Object.fromEntries(kept), ...change.set };
    return this.#again(app, { ...live, config: { ...live.config, env } }, "env");
  }

  /** A new release with the secrets of now; null if there is none yet. */
  renewSecrets(name: string, sees: Scope | null): DeploymentRecord | null {
    const app = this.get(name, sees);
    return app.live === null ? null : this.#again(app, this.#live(app), "secret");
  }

  #again(app: AppRecord, release: ReleaseRecord, cause: string): DeploymentRecord {
    const { store, rollouts } = this.#parts;
    const { image, imageName, memory, config } = release;
    const deployment = store.transaction(() => {
      const made = this.#release(app, { image, imageName, memory, config, cause });
      this.#reuse(this.#live(app), made);
      return rollouts.record(app.name, made.number, null);
    });
    return this.#begin(deployment, app.tenant);
  }

  #live(app: AppRecord): ReleaseRecord {
    const live = app.live === null ? null : this.#parts.store.get("releases", releaseKey(app.name, app.live));
    if (live === null) throw sporeError("SPORE_CONFLICT", { problem: `${app.name} has no live release` });
    return live;
  }

  /** Variables of the live release. */
  env(name: string, sees: Scope | null): Readonly<Record<string, string>> {
    const app = this.get(name, sees);
    return app.live === null ? {} : this.#live(app).config.env;
  }

  releases(name: string, sees: Scope | null, before: number | null, limit: number): readonly ReleaseRecord[] {
    this.get(name, sees);
    const all = this.#parts.store.list("releases", { prefix: `${name}/` });
    return all
      .filter(({ number }) => before === null || number < before)
      .reverse()
      .slice(0, limit);
  }

  release(name: string, sees: Scope | null, number: number): ReleaseRecord {
    this.get(name, sees);
    const release = this.#parts.store.get("releases", releaseKey(name, number));
    if (release === null) throw sporeError("SPORE_NOT_FOUND", { what: `release ${number} of ${name}` });
    return release;
  }

  /** Stops an app and removes all that was kept of it. */
  remove(name: string, sees: Scope | null): void {
    const { store, fleet, events, logs, secrets, preparations, snapshots, urls } = this.#parts;
    const { images, possessions } = this.#parts;
    const app = this.get(name, sees);
    const own = new Set(store.list("releases", { prefix: `${name}/` }).map(({ image }) => image));
    // While it is known how long they may take.
    fleet.retire(name, null, "requested");
    store.transaction(() => {
      store.delete("apps", name);
      for (const { number } of store.list("releases", { prefix: `${name}/` })) {
        store.delete("releases", releaseKey(name, number));
      }
      for (const record of store.list("deployments")) {
        if (record.app === name) store.delete("deployments", record.id);
      }
      for (const { key } of store.list("flags", { prefix: `${name}/` }))
        store.delete("flags", namedKey(name, key));
      secrets.remove(name);
    });
    store.durable();
    urls.refresh();
    fleet.forget(name);
    preparations.forget(name);
    snapshots.remove(name);
    logs.remove(name);
    events.tell("app.removed", { tenant: app.tenant, project: app.project, app: name });
    for (const { image } of store.list("releases")) own.delete(image);
    images.sweep(own);
    possessions.sweep();
  }

  /** Throws unless the app may have its port and its domains. */
  #checkNames(app: AppRecord, settings: AppSettings, operator: boolean): void {
    const { store, tenants } = this.#parts;
    const { name } = app;
    const { tcp } = settings;
    if (tcp !== null && tcp !== app.settings.tcp && !operator) tenants.admitPort(app.tenant, tcp);
    if (tcp !== null && store.list("apps").some((app) => app.name !== name && app.settings.tcp === tcp)) {
      throw sporeError("SPORE_CONFLICT", { problem: `another app listens on port ${tcp}` });
    }
    for (const domain of settings.domains) this.#checkDomain(app, domain, operator);
  }

  #checkDomain({ name, tenant, settings }: AppRecord, domain: string, operator: boolean): void {
    const { store, urls, domains } = this.#parts;
    const host = hostOfDomain(domain);
    if (urls.isOwn(host) && !this.#ownsPath(name, tenant, host, domain)) {
      throw sporeError("SPORE_CONFLICT", { problem: `${domain} is a name that Spore gives itself` });
    }
    const other = store
      .list("apps")
      .find((app) => app.name !== name && app.settings.domains.includes(domain));
    if (other) throw sporeError("SPORE_CONFLICT", { problem: `the domain ${domain} is taken` });
    // Who has a host has all of its paths.
    const foreign = store
      .list("apps")
      .find((app) => app.tenant !== tenant && app.settings.domains.some((has) => hostOfDomain(has) === host));
    if (foreign) throw sporeError("SPORE_CONFLICT", { problem: `the domain ${host} is taken` });
    if (!urls.isOwn(host) && !settings.domains.includes(domain)) domains.admit(domain, tenant, operator);
  }

  /** Paths below an app's own name may lead to another app of the same tenant. */
  #ownsPath(name: string, tenant: string, host: string, domain: string): boolean {
    const place = this.#parts.urls.find(host, "/");
    if (host === domain || place === null || place.app === name || place.release !== null) return false;
    return this.#parts.store.get("apps", place.app)?.tenant === tenant;
  }
}

/** Everything that a snapshot of a release was made by. */
function frozenOf({ image, config }: ReleaseRecord): string {
  const { env, args, cwd, memory, port, ready } = config;
  return JSON.stringify([image, Object.entries(env).sort(), args, cwd, memory, port, ready]);
}

/** Only what was said. */
function given<T extends object>(
  change: T | undefined,
): Partial<{ [K in keyof T]: Exclude<T[K], undefined> }> {
  const said = Object.entries(change ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(said) as Partial<{ [K in keyof T]: Exclude<T[K], undefined> }>;
}

function merged(settings: AppSettings, change: AppSettingsChange | undefined): AppSettings {
  const { scaling, ...rest } = change ?? {};
  const next: AppSettings = {
    ...settings,
    ...given(rest),
    scaling: { ...settings.scaling, ...given(scaling) },
  };
  if (next.scaling.min > next.scaling.max) {
    throw sporeError("SPORE_CONFLICT", { problem: "scaling.min is above scaling.max" });
  }
  return next;
}
