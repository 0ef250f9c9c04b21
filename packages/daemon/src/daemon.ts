/** The composition root: every part of the daemon is made and wired here, by hand. */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { daemonSocket } from "@spore/api";
import { asSporeError, type SporeError, sporeError } from "@spore/errors";
import { type Address, type Answered, Gateway } from "@spore/gateway";
import type { FastifyInstance } from "fastify";
import { Authority } from "./authority.ts";
import { type CertificateFiles, certificates } from "./certificates.ts";
import { Cgroups } from "./cgroups.ts";
import { Apps } from "./cloud/apps.ts";
import { CanaryWatch } from "./cloud/canary.ts";
import { Domains } from "./cloud/domains.ts";
import { faultPoint } from "./cloud/faults.ts";
import { Flags } from "./cloud/flags.ts";
import { Grants, InternalNetwork } from "./cloud/internal.ts";
import { InternalFlags } from "./cloud/internal-flags.ts";
import { Possessions } from "./cloud/possessions.ts";
import { Rollouts } from "./cloud/rollouts.ts";
import { CloudRouter } from "./cloud/router.ts";
import { Storage } from "./cloud/storage.ts";
import { TcpServices } from "./cloud/tcp-services.ts";
import { OWN_TENANT, type Scope, Tenants } from "./cloud/tenants.ts";
import { Urls } from "./cloud/urls.ts";
import { monitorDriver } from "./driver/monitor.ts";
import type { StandbyLimits } from "./driver/standby.ts";
import type { InstanceDriver } from "./driver/types.ts";
import { Events } from "./events.ts";
import { Fleet, type FleetParts } from "./fleet/fleet.ts";
import { type HandlerParts, handlers, streams } from "./http/handlers.ts";
import { sweepAnswers } from "./http/idempotency.ts";
import { apiServer } from "./http/server.ts";
import { Images } from "./images.ts";
import { Logs } from "./logs/logs.ts";
import { Metrics } from "./metrics.ts";
import { Preparations } from "./prepared.ts";
import { Secrets } from "./secrets.ts";
import { Snapshots } from "./snapshots.ts";
import { openSqlite } from "./store/sqlite.ts";
import type { Store } from "./store/types.ts";
import { headersOf, Otlp } from "./telemetry/otlp.ts";

/** What a daemon is told. */
export interface DaemonOptions {
  /** Folder of all of its state. */
  readonly home: string;
  /** Addresses of the gateway. */
  readonly addresses: readonly string[];
  readonly port: number;
  /** HTTPS beside HTTP; without files, the development authority signs. */
  readonly tls: { readonly port: number; readonly files: CertificateFiles | null } | null;
  /** Apps are names under it. */
  readonly domain: string;
  /** Where the API listens beside its socket; there every call needs a token. */
  readonly api: { readonly host: string; readonly port: number } | null;
  /** Where spans go: the address of an OpenTelemetry collector. */
  readonly otlp: string | null;
  readonly monitor: string;
  readonly reporter: readonly string[] | null;
  /** Machines that may stand by for apps that sleep. */
  readonly standby: Omit<StandbyLimits, "admits">;
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: (line: Readonly<Record<string, unknown>>) => void;
}

/** How long answers may go on when the daemon goes down. */
const GRACE_MS = 10_000;

/** A running daemon. */
export interface Daemon {
  readonly gatewayPort: number;
  readonly tlsPort: number | null;
  readonly apiPort: number | null;
  /** Ends; instances live on unless they are to stop too. */
  close(instances: "keep" | "stop"): Promise<void>;
}

/** What keeps state, and needs nothing of what runs. */
function keepers({ home, domain, log }: DaemonOptions) {
  const wrong = (thrown: unknown): void => {
    const { code, message } = asSporeError(thrown);
    log({ level: "error", code, message });
  };
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const store = openSqlite(join(home, "state.db"));
  const run = join(home, "run");
  const events = new Events(store);
  const images = new Images(join(home, "images"));
  const tenants = new Tenants(store, events);
  const secrets = new Secrets(store, join(home, "identity.txt"));
  const grants = new Grants(home);
  return {
    store,
    run,
    events,
    images,
    possessions: new Possessions(store, images),
    secrets,
    storage: new Storage({ store, tenants, images, folders: [join(home, "logs"), join(home, "snapshots")] }),
    wrong,
    tenants,
    preparations: new Preparations(images, secrets),
    snapshots: new Snapshots(join(home, "snapshots")),
    logs: new Logs(join(home, "logs"), run, wrong),
    urls: new Urls(store, domain),
    grants,
    domains: new Domains({ store, events, grants }),
    authority: authorityOf(join(home, "tls"), domain),
  };
}

function otlpOf({ otlp: endpoint, env, version }: DaemonOptions): Otlp | null {
  if (endpoint === null) return null;
  return new Otlp({ endpoint, headers: headersOf(env["OTEL_EXPORTER_OTLP_HEADERS"]), version });
}

function driverOf(options: DaemonOptions, folder: string, admits: StandbyLimits["admits"]): InstanceDriver {
  const { monitor, reporter } = options;
  return monitorDriver({ folder, monitor, reporter, standby: { ...options.standby, admits } });
}

/** How quotas of memory bind machines that stand by: they take what instances leave, and give way to them. */
function standbyOf(
  store: Store,
  tenants: Tenants,
  parts: () => { readonly driver: InstanceDriver; readonly fleet: Fleet },
): { admits: StandbyLimits["admits"]; yield: (app: string, memory: number) => void } {
  const tenantOf = (app: string): string => store.get("apps", app)?.tenant ?? OWN_TENANT;
  return {
    admits: (app, bytes) => {
      const { driver, fleet } = parts();
      const tenant = tenantOf(app);
      const all = () => bytes + driver.standingBytes((other) => tenantOf(other) === tenant);
      return tenants.admitsStandby(tenant, all, 0, fleet);
    },
    yield: (app, memory) => {
      const { driver, fleet } = parts();
      const tenant = tenantOf(app);
      // Its own machine becomes the instance.
      const others = (other: string) => other !== app && tenantOf(other) === tenant;
      if (tenants.admitsStandby(tenant, () => driver.standingBytes(others), memory, fleet)) return;
      for (const { name } of store.list("apps")) if (others(name)) driver.dismiss(name, []);
    },
  };
}

/** How the quotas of tenants bind their instances. */
function limitsOf(
  store: Store,
  tenants: Tenants,
  events: Events,
  log: DaemonOptions["log"],
  fleet: () => Fleet,
  makeRoom: (app: string, memory: number) => void,
): Pick<FleetParts, "admit" | "place"> {
  const cgroups = Cgroups.open();
  if (typeof cgroups === "string") {
    log({ level: "warn", message: `quotas of processor time are not held: ${cgroups}` });
  }
  events.follow(({ kind }, { tenant }) => {
    if (typeof cgroups === "string" || tenant === null) return;
    if (kind === "tenant.changed") cgroups.limit(tenant, tenants.quotas(tenant));
    else if (kind === "tenant.removed") cgroups.remove(tenant);
  });
  const tenantOf = (app: string): string => store.get("apps", app)?.tenant ?? OWN_TENANT;
  return {
    admit: (app, memory) => {
      tenants.admitInstance(tenantOf(app), memory, fleet());
      makeRoom(app, memory);
    },
    place: (app, pid) => {
      if (typeof cgroups === "string") return;
      const tenant = tenantOf(app);
      try {
        cgroups.place(tenant, pid, tenants.quotas(tenant));
      } catch (thrown) {
        log({ level: "error", message: `the limits of tenant ${tenant}: ${asSporeError(thrown).message}` });
      }
    },
  };
}

/** The development authority, opened or made when somebody asks for it. */
function authorityOf(folder: string, domain: string): () => Authority {
  let known: Authority | null = null;
  return () => {
    known ??= Authority.open(folder, domain);
    return known;
  };
}

/** Starts a daemon; rejects with a SporeError. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { home, env } = options;
  const kept = keepers(options);
  const { store, run, events, tenants, preparations, logs, urls } = kept;
  const standing = standbyOf(store, tenants, () => ({ driver, fleet }));
  const driver = driverOf(options, run, standing.admits);
  const fleet: Fleet = new Fleet({
    ...kept,
    driver,
    prepare: (release) => preparations.of(release),
    internal: (app) => kept.grants.of(app),
    ...limitsOf(store, tenants, events, options.log, () => fleet, standing.yield),
    woken: (member) => metrics.woken(member),
  });
  const otlp = otlpOf(options);
  const metrics = new Metrics(fleet, otlp);
  const rollouts = new Rollouts({ ...kept, fleet, fault: faultPoint(env) });
  const parts = { ...kept, fleet, rollouts };
  const apps = new Apps(parts);
  const router = new CloudRouter({ store, fleet, urls, tenants });
  const canaries = new CanaryWatch(store, apps, rollouts);
  events.follow(({ app }) => {
    if (app === null) return;
    router.forget(app);
    canaries.refresh(app);
    // Its last instances may yet have told of an answer.
    if (store.get("apps", app) === null) setImmediate(() => metrics.forget(app));
  });
  const answered = (what: Answered): void => {
    metrics.answered(what);
    canaries.answered(what);
  };
  const finished = otlp === null ? null : otlp.finished.bind(otlp);
  const gateway = new Gateway({ router, answered, finished });
  fleet.retired = (address) => gateway.forget(address);

  const flags = new Flags(store, events);
  const internal = new InternalNetwork(
    { store, events, router, gateway, flags: new InternalFlags(flags) },
    kept.grants,
  );
  await internal.listen();
  sweepAnswers(store);
  fleet.adopt();
  const host = options.addresses[0] ?? "127.0.0.1";
  await new TcpServices({ store, events, router, gateway, host }).start();
  const gatewayPort = await listenGateway((address) => gateway.listen(address), options.port, options);
  const tlsPort = await listenTls(gateway, kept.authority, options);
  urls.at(tlsPort === null ? "http" : "https", tlsPort ?? gatewayPort);
  const api = await serve(
    { ...parts, apps, flags, metrics, home, version: options.version },
    metrics,
    options,
  );

  for (const app of store.list("apps")) apps.ensureMinimum(app);
  rollouts.resume();
  writeFileSync(join(home, "daemon.pid"), `${process.pid}\n`);
  events.tell("daemon.started", { tenant: null }, { pid: process.pid, version: options.version });
  return {
    gatewayPort,
    tlsPort,
    apiPort: api.port,
    close: async (instances) => {
      canaries.close();
      internal.close();
      await gateway.close(GRACE_MS);
      await otlp?.flush();
      if (instances === "stop") await fleet.close();
      else driver.close();
      await api.close();
      logs.close();
      events.tell("daemon.stopped", { tenant: null }, { pid: process.pid });
      store.close();
      rmSync(join(home, "daemon.pid"), { force: true });
    },
  };
}

/** Lets the API be reached at its socket and, with tokens, at an address. */
async function serve(
  parts: HandlerParts,
  metrics: Metrics,
  { home, version, log, api }: DaemonOptions,
): Promise<{ readonly port: number | null; close(): Promise<void> }> {
  const shared = {
    store: parts.store,
    handlers: handlers(parts),
    streams: streams(parts),
    verify: (token: string) => parts.tenants.verify(token),
    seal: (text: string) => parts.grants.fingerprint(text),
    version,
    metrics: (sees: Scope | null) =>
      metrics.text(
        sees === null ? null : new Set(parts.apps.list(sees, null, 1_000_000).map(({ name }) => name)),
      ),
    wrong: ({ code, message, cause }: SporeError): void =>
      log({ level: "error", code, message, stack: cause instanceof Error ? cause.stack : undefined }),
  };
  const own = apiServer({ ...shared, trusted: { tenant: OWN_TENANT, project: null, role: "operator" } });
  await listenSocket(own, home);
  const open = api === null ? null : apiServer({ ...shared, trusted: null });
  const port = open === null || api === null ? null : await listenTcp(open, api);
  return {
    port,
    close: async () => {
      await Promise.all([own.close(), open?.close()]);
    },
  };
}

/** All addresses get the same port: the first decides if it may be any. */
async function listenGateway(
  listen: (address: Address) => Promise<number>,
  wanted: number,
  options: DaemonOptions,
): Promise<number> {
  let port = wanted;
  for (const host of options.addresses) {
    try {
      port = await listen({ host, port });
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      // A host without IPv6 serves its names on IPv4 alone.
      if ((code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT") && host.includes(":")) continue;
      throw portError(code, `${host.includes(":") ? `[${host}]` : host}:${port}`, thrown);
    }
  }
  return port;
}

async function listenTls(
  gateway: Gateway,
  authority: () => Authority,
  options: DaemonOptions,
): Promise<number | null> {
  const { tls, home } = options;
  if (tls === null) return null;
  const found = certificates(join(home, "tls"), tls.files ?? authority());
  return await listenGateway((address) => gateway.listenTls(address, found), tls.port, options);
}

function portError(code: string | undefined, address: string, cause: unknown): unknown {
  const next = { cause, next: "stop what listens there, or choose another port: `spore up --port PORT`" };
  if (code === "EADDRINUSE") return sporeError("SPORE_PORT_TAKEN", { address }, next);
  if (code === "EACCES") return sporeError("SPORE_PORT_PERMISSION", { address }, { cause });
  return cause;
}

async function listenSocket(server: FastifyInstance, home: string): Promise<void> {
  const path = daemonSocket(home);
  // The store's lock says that no other daemon lives here: what is left is a dead one's.
  rmSync(path, { force: true });
  const mask = process.umask(0o177);
  try {
    await server.listen({ path });
  } finally {
    process.umask(mask);
  }
}

async function listenTcp(
  server: FastifyInstance,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<number> {
  try {
    await server.listen({ host, port });
  } catch (thrown) {
    throw portError((thrown as NodeJS.ErrnoException).code, `${host}:${port}`, thrown);
  }
  const address = server.server.address();
  return typeof address === "object" && address !== null ? address.port : port;
}
