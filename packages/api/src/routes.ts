/** All routes of the API, as data. */

import * as z from "zod";
import type {
  App,
  AppSettingsChange,
  Authority,
  Change,
  Crash,
  Deployment,
  Domain,
  Event,
  Flag,
  FlagValue,
  Instance,
  LogLine,
  Metric,
  NewToken,
  Page,
  PortRange,
  Project,
  Quotas,
  Release,
  ReleaseConfig,
  Role,
  Status,
  Tenant,
  Token,
} from "./model.ts";
import type { Call, Route } from "./route.ts";
import * as s from "./schemas.ts";

/** A call without parameters, query and body, but for what is said. */
interface Of<R, P extends Partial<Omit<Call, "result">> = object> extends Call {
  readonly params: P extends { readonly params: infer V extends object } ? V : object;
  readonly query: P extends { readonly query: infer V extends object } ? V : object;
  readonly body: P extends { readonly body: infer V extends object | "bytes" } ? V : null;
  readonly result: R;
}

type InApp<More = object> = { readonly params: { readonly app: string } } & More;
type Paged = { readonly after?: string | undefined; readonly limit?: number | undefined };
type Followed = {
  readonly after?: number | undefined;
  readonly limit?: number | undefined;
};

/** Every route and what its call takes and gives. */
export interface Calls {
  status: Of<Status>;
  getAuthority: Of<Authority>;
  getMetrics: Of<{ readonly metrics: readonly Metric[] }>;
  missingBlobs: Of<
    { readonly missing: readonly string[] },
    { readonly body: { readonly digests: readonly string[] } }
  >;
  putBlob: Of<
    { readonly digest: string; readonly length: number },
    { readonly params: { readonly digest: string }; readonly body: "bytes" }
  >;
  putImage: Of<
    { readonly digest: string; readonly name: string },
    { readonly params: { readonly digest: string } }
  >;
  listApps: Of<Page<App>, { readonly query: Paged & { readonly project?: string | undefined } }>;
  getApp: Of<App, InApp>;
  changeApp: Of<App, InApp<{ readonly body: AppSettingsChange }>>;
  deleteApp: Of<{ readonly name: string }, InApp>;
  deploy: Of<
    Deployment,
    InApp<{
      readonly body: {
        readonly image: string;
        /** Of a new app; absent: `default`. */
        readonly project?: string | undefined;
        readonly config?: Change<Omit<ReleaseConfig, "secrets">> | undefined;
        readonly settings?: AppSettingsChange | undefined;
        /** Percent of the requests; absent: all of them. */
        readonly canary?: number | undefined;
        /** Boot it even if it is the same as the live release, which has a snapshot. */
        readonly fresh?: boolean | undefined;
      };
    }>
  >;
  listReleases: Of<Page<Release>, InApp<{ readonly query: Paged }>>;
  getRelease: Of<Release, { readonly params: { readonly app: string; readonly release: number } }>;
  rollback: Of<Deployment, InApp<{ readonly body: { readonly release?: number | undefined } }>>;
  promote: Of<Deployment, InApp>;
  getDeployment: Of<Deployment, { readonly params: { readonly id: string } }>;
  listInstances: Of<
    Page<Instance>,
    { readonly query: Paged & { readonly app?: string | undefined; readonly all?: boolean | undefined } }
  >;
  getInstance: Of<Instance, { readonly params: { readonly id: string } }>;
  stopInstance: Of<Instance, { readonly params: { readonly id: string } }>;
  listCrashes: Of<Page<Crash>, InApp<{ readonly query: Paged }>>;
  getCrash: Of<Crash, { readonly params: { readonly id: string } }>;
  listEvents: Of<Page<Event>, { readonly query: Followed & { readonly app?: string | undefined } }>;
  followEvents: Of<Event, { readonly query: Followed & { readonly app?: string | undefined } }>;
  readLogs: Of<Page<LogLine>, InApp<{ readonly query: Followed & { readonly last?: number | undefined } }>>;
  followLogs: Of<LogLine, InApp<{ readonly query: Followed & { readonly last?: number | undefined } }>>;
  getEnv: Of<{ readonly env: Readonly<Record<string, string>> }, InApp>;
  changeEnv: Of<
    Deployment,
    InApp<{
      readonly body: {
        readonly set?: Readonly<Record<string, string>> | undefined;
        readonly unset?: readonly string[] | undefined;
      };
    }>
  >;
  listSecrets: Of<
    { readonly secrets: readonly { readonly name: string; readonly version: number }[] },
    InApp
  >;
  changeSecrets: Of<
    { readonly deployment: Deployment | null },
    InApp<{
      readonly body: {
        readonly set?: Readonly<Record<string, string>> | undefined;
        readonly unset?: readonly string[] | undefined;
      };
    }>
  >;
  listFlags: Of<{ readonly flags: readonly Flag[] }, InApp>;
  putFlag: Of<
    Flag,
    {
      readonly params: { readonly app: string; readonly key: string };
      readonly body: Omit<Flag, "key" | "updatedAt">;
    }
  >;
  deleteFlag: Of<
    { readonly key: string },
    { readonly params: { readonly app: string; readonly key: string } }
  >;
  listTokens: Of<Page<Token>, { readonly query: Paged }>;
  createToken: Of<
    NewToken,
    {
      readonly body: {
        readonly name: string;
        readonly role: Role;
        readonly tenant?: string | undefined;
        readonly project?: string | undefined;
      };
    }
  >;
  deleteToken: Of<{ readonly id: string }, { readonly params: { readonly id: string } }>;
  listProjects: Of<Page<Project>, { readonly query: Paged }>;
  putProject: Of<Project, { readonly params: { readonly project: string } }>;
  deleteProject: Of<{ readonly name: string }, { readonly params: { readonly project: string } }>;
  listDomains: Of<Page<Domain>, { readonly query: Paged }>;
  putDomain: Of<
    Domain,
    {
      readonly params: { readonly domain: string };
      readonly body: { readonly tenant?: string | undefined };
    }
  >;
  deleteDomain: Of<{ readonly name: string }, { readonly params: { readonly domain: string } }>;
  listTenants: Of<Page<Tenant>, { readonly query: Paged }>;
  putTenant: Of<
    Tenant,
    {
      readonly params: { readonly tenant: string };
      readonly body: {
        readonly quotas?: Change<Quotas> | undefined;
        readonly ports?: PortRange | null | undefined;
      };
    }
  >;
  deleteTenant: Of<{ readonly name: string }, { readonly params: { readonly tenant: string } }>;
  evaluateFlag: Of<
    Evaluation,
    { readonly params: { readonly app: string; readonly key: string }; readonly body: EvaluationRequest }
  >;
  evaluateFlags: Of<{ readonly flags: readonly Evaluation[] }, InApp<{ readonly body: EvaluationRequest }>>;
}

/** What OpenFeature's remote evaluation protocol (OFREP) sends. */
export interface EvaluationRequest {
  readonly context?: Readonly<Record<string, unknown>> | undefined;
}

/** What OFREP answers for one flag. */
export interface Evaluation {
  readonly key: string;
  readonly reason: "STATIC" | "DISABLED";
  readonly variant: string;
  readonly value: FlagValue;
}

const none = z.object({});
const inApp = z.object({ app: s.appName });
const byId = z.object({ id: z.string().regex(/^[a-z0-9-]{1,64}$/) });
const limit = z.coerce.number().int().min(1).max(1000).optional();
const paged = z.object({ after: z.string().max(200).optional(), limit });
const followed = z.object({
  after: z.coerce
    .number()
    .int()
    .min(0)
    .max(2 ** 53 - 1)
    .optional(),
  limit,
});
const ofApp = followed.extend({ app: s.appName.optional() });
const ofLog = followed.extend({ last: z.coerce.number().int().min(0).max(10_000).optional() });
const names = z.array(s.envName).max(1000);
const change = z.strictObject({ set: s.variables.optional(), unset: names.optional() });
const byDigest = z.object({ digest: s.digest });
const byFlag = z.object({ app: s.appName, key: s.flagKey });
const evaluation: z.ZodType<Evaluation> = z.object({
  key: s.flagKey,
  reason: z.enum(["STATIC", "DISABLED"]),
  variant: z.string(),
  value: s.flagValue,
});
const evaluationRequest = z.object({ context: z.record(z.string(), z.unknown()).optional() });
const bare = { params: none, query: none, body: null, status: 200 } as const;
const ofOneApp = { ...bare, params: inApp } as const;
/** All routes by name. */
export const routes: { readonly [K in keyof Calls]: Route<Calls[K]> } = {
  status: {
    ...bare,
    method: "GET",
    path: "/v1/status",
    summary: "The daemon: version, addresses, how much it runs.",
    role: "viewer",
    result: s.status,
  },
  getAuthority: {
    ...bare,
    method: "GET",
    path: "/v1/authority",
    summary: "The development authority that signs for HTTPS, made if there is none yet.",
    role: "viewer",
    result: s.authority,
  },
  getMetrics: {
    ...bare,
    method: "GET",
    path: "/v1/metrics",
    summary:
      "The numbers that /metrics has for Prometheus; of the tenant's own apps, unless an operator asks.",
    role: "viewer",
    result: z.object({ metrics: z.array(s.metric) }),
  },
  missingBlobs: {
    ...bare,
    method: "POST",
    path: "/v1/blobs/missing",
    summary: "Which of these blobs are not there yet.",
    role: "deployer",
    body: z.strictObject({ digests: z.array(s.digest).max(1000) }),
    result: z.object({ missing: z.array(s.digest) }),
  },
  putBlob: {
    ...bare,
    method: "PUT",
    path: "/v1/blobs/{digest}",
    summary: "Uploads a blob of an image; it is kept only if its bytes have the digest.",
    role: "deployer",
    params: byDigest,
    body: "bytes",
    result: z.object({ digest: s.digest, length: z.int() }),
    status: 201,
  },
  putImage: {
    ...bare,
    method: "PUT",
    path: "/v1/images/{digest}",
    summary: "Checks an image whose manifest has the digest and whose blobs are there.",
    role: "deployer",
    params: byDigest,
    result: z.object({ digest: s.digest, name: z.string() }),
  },
  listApps: {
    ...bare,
    method: "GET",
    path: "/v1/apps",
    summary: "The apps of the tenant, or of one of its projects.",
    role: "viewer",
    query: paged.extend({ project: s.appName.optional() }),
    result: s.page(s.app),
  },
  getApp: {
    ...ofOneApp,
    method: "GET",
    path: "/v1/apps/{app}",
    summary: "One app.",
    role: "viewer",
    result: s.app,
  },
  changeApp: {
    ...ofOneApp,
    method: "PATCH",
    path: "/v1/apps/{app}",
    summary: "Changes settings of an app; they hold at once.",
    role: "deployer",
    body: s.appSettingsChange,
    result: s.app,
  },
  deleteApp: {
    ...ofOneApp,
    method: "DELETE",
    path: "/v1/apps/{app}",
    summary: "Stops an app and removes it with its releases, secrets and logs.",
    role: "admin",
    result: z.object({ name: s.appName }),
  },
  deploy: {
    ...ofOneApp,
    method: "POST",
    path: "/v1/apps/{app}/releases",
    summary: "Makes a release of an image and rolls it out; makes the app if there is none.",
    role: "deployer",
    body: z.strictObject({
      image: s.digest,
      project: s.appName.optional(),
      config: s.releaseChange.optional(),
      settings: s.appSettingsChange.optional(),
      canary: z.number().min(0).max(100).optional(),
      fresh: z.boolean().optional(),
    }),
    result: s.deployment,
    status: 202,
    idempotent: true,
  },
  listReleases: {
    ...ofOneApp,
    method: "GET",
    path: "/v1/apps/{app}/releases",
    summary: "The releases of an app, the newest first.",
    role: "viewer",
    query: paged,
    result: s.page(s.release),
  },
  getRelease: {
    ...bare,
    method: "GET",
    path: "/v1/apps/{app}/releases/{release}",
    summary: "One release.",
    role: "viewer",
    params: z.object({
      app: s.appName,
      release: z.coerce
        .number()
        .int()
        .min(1)
        .max(2 ** 31),
    }),
    result: s.release,
  },
  rollback: {
    ...ofOneApp,
    method: "POST",
    path: "/v1/apps/{app}/rollback",
    summary: "Moves the app to an earlier release: the given one, else the one before the live one.",
    role: "deployer",
    body: z.strictObject({ release: z.int().min(1).optional() }),
    result: s.deployment,
    status: 202,
    idempotent: true,
  },
  promote: {
    ...ofOneApp,
    method: "POST",
    path: "/v1/apps/{app}/promote",
    summary: "Gives all requests to the canary.",
    role: "deployer",
    result: s.deployment,
    status: 202,
    idempotent: true,
  },
  getDeployment: {
    ...bare,
    method: "GET",
    path: "/v1/deployments/{id}",
    summary: "How far a rollout is.",
    role: "viewer",
    params: byId,
    result: s.deployment,
  },
  listInstances: {
    ...bare,
    method: "GET",
    path: "/v1/instances",
    summary: "The instances that are there; with `all`, those that were as well.",
    role: "viewer",
    query: paged.extend({
      app: s.appName.optional(),
      all: z
        .enum(["true", "false"])
        .transform((text) => text === "true")
        .optional(),
    }),
    result: s.page(s.instance),
  },
  getInstance: {
    ...bare,
    method: "GET",
    path: "/v1/instances/{id}",
    summary: "One instance.",
    role: "viewer",
    params: byId,
    result: s.instance,
  },
  stopInstance: {
    ...bare,
    method: "POST",
    path: "/v1/instances/{id}/stop",
    summary: "Lets an instance finish its requests and stops it.",
    role: "deployer",
    params: byId,
    result: s.instance,
  },
  listCrashes: {
    ...ofOneApp,
    method: "GET",
    path: "/v1/apps/{app}/crashes",
    summary: "Instances that ended as nobody had asked, the oldest first.",
    role: "viewer",
    query: paged,
    result: s.page(s.crash),
  },
  getCrash: {
    ...bare,
    method: "GET",
    path: "/v1/crashes/{id}",
    summary: "What is known of such an end: reason, signal, stack, last system calls, last lines.",
    role: "viewer",
    params: byId,
    result: s.crash,
  },
  listEvents: {
    ...bare,
    method: "GET",
    path: "/v1/events",
    summary: "What happened, the oldest first.",
    role: "viewer",
    query: ofApp,
    result: s.page(s.event),
  },
  followEvents: {
    ...bare,
    method: "GET",
    path: "/v1/events/stream",
    summary: "What happened after `after`, and what happens from now on.",
    role: "viewer",
    query: ofApp,
    result: s.event,
    answer: "events",
  },
  readLogs: {
    ...ofOneApp,
    method: "GET",
    path: "/v1/apps/{app}/logs",
    summary: "Lines that instances of the app wrote, in order.",
    role: "viewer",
    query: ofLog,
    result: s.page(s.logLine),
  },
  followLogs: {
    ...ofOneApp,
    method: "GET",
    path: "/v1/apps/{app}/logs/stream",
    summary: "The same, and what they write from now on.",
    role: "viewer",
    query: ofLog,
    result: s.logLine,
    answer: "events",
  },
  getEnv: {
    ...ofOneApp,
    method: "GET",
    path: "/v1/apps/{app}/env",
    summary: "Variables of the live release.",
    role: "viewer",
    result: z.object({ env: s.variables }),
  },
  changeEnv: {
    ...ofOneApp,
    method: "PATCH",
    path: "/v1/apps/{app}/env",
    summary: "Changes variables: a new release of the same image.",
    role: "deployer",
    body: change,
    result: s.deployment,
    status: 202,
    idempotent: true,
  },
  listSecrets: {
    ...ofOneApp,
    method: "GET",
    path: "/v1/apps/{app}/secrets",
    summary: "Names of the app's secrets; their values are never shown.",
    role: "viewer",
    result: z.object({ secrets: z.array(z.object({ name: s.envName, version: z.int() })) }),
  },
  changeSecrets: {
    ...ofOneApp,
    method: "PATCH",
    path: "/v1/apps/{app}/secrets",
    summary: "Changes secrets: a new release of the same image, if there is one.",
    role: "deployer",
    body: change,
    result: z.object({ deployment: s.deployment.nullable() }),
    status: 202,
    idempotent: true,
  },
  listFlags: {
    ...ofOneApp,
    method: "GET",
    path: "/v1/apps/{app}/flags",
    summary: "Feature flags of the app.",
    role: "viewer",
    result: z.object({ flags: z.array(s.flag) }),
  },
  putFlag: {
    ...bare,
    method: "PUT",
    path: "/v1/apps/{app}/flags/{key}",
    summary: "Sets a feature flag; it holds at once.",
    role: "deployer",
    params: byFlag,
    body: s.flagChange,
    result: s.flag,
  },
  deleteFlag: {
    ...bare,
    method: "DELETE",
    path: "/v1/apps/{app}/flags/{key}",
    summary: "Removes a feature flag.",
    role: "deployer",
    params: byFlag,
    result: z.object({ key: s.flagKey }),
  },
  listTokens: {
    ...bare,
    method: "GET",
    path: "/v1/tokens",
    summary: "Tokens of the tenant, without their secrets.",
    role: "admin",
    query: paged,
    result: s.page(s.token),
  },
  createToken: {
    ...bare,
    method: "POST",
    path: "/v1/tokens",
    summary: "Makes a token; the answer is the only time that its secret is shown.",
    role: "admin",
    body: z.strictObject({
      name: z.string().min(1).max(100),
      role: s.role,
      tenant: s.appName.optional(),
      project: s.appName.optional(),
    }),
    result: s.newToken,
    status: 201,
  },
  deleteToken: {
    ...bare,
    method: "DELETE",
    path: "/v1/tokens/{id}",
    summary: "Makes a token invalid.",
    role: "admin",
    params: byId,
    result: z.object({ id: z.string() }),
  },
  listProjects: {
    ...bare,
    method: "GET",
    path: "/v1/projects",
    summary: "The projects of the tenant.",
    role: "viewer",
    query: paged,
    result: s.page(s.project),
  },
  putProject: {
    ...bare,
    method: "PUT",
    path: "/v1/projects/{project}",
    summary: "Makes a project of the tenant, if there is none.",
    role: "admin",
    params: z.object({ project: s.appName }),
    result: s.project,
  },
  deleteProject: {
    ...bare,
    method: "DELETE",
    path: "/v1/projects/{project}",
    summary: "Removes a project that has no apps, with its tokens.",
    role: "admin",
    params: z.object({ project: s.appName }),
    result: z.object({ name: s.appName }),
  },
  listDomains: {
    ...bare,
    method: "GET",
    path: "/v1/domains",
    summary: "The domains of the tenant.",
    role: "viewer",
    query: paged,
    result: s.page(s.ownedDomain),
  },
  putDomain: {
    ...bare,
    method: "PUT",
    path: "/v1/domains/{domain}",
    summary:
      "Makes a domain the tenant's once its TXT record is found; the refusal says which one. An operator needs none.",
    role: "deployer",
    params: z.object({ domain: s.hostName }),
    body: z.strictObject({ tenant: s.appName.optional() }),
    result: s.ownedDomain,
  },
  deleteDomain: {
    ...bare,
    method: "DELETE",
    path: "/v1/domains/{domain}",
    summary: "Takes a domain away that no app has.",
    role: "admin",
    params: z.object({ domain: s.hostName }),
    result: z.object({ name: s.hostName }),
  },
  listTenants: {
    ...bare,
    method: "GET",
    path: "/v1/tenants",
    summary: "All tenants.",
    role: "operator",
    query: paged,
    result: s.page(s.tenant),
  },
  putTenant: {
    ...bare,
    method: "PUT",
    path: "/v1/tenants/{tenant}",
    summary: "Makes a tenant or changes its quotas and ports.",
    role: "operator",
    params: z.object({ tenant: s.appName }),
    body: z.strictObject({ quotas: s.quotasChange.optional(), ports: s.portRange.nullable().optional() }),
    result: s.tenant,
  },
  deleteTenant: {
    ...bare,
    method: "DELETE",
    path: "/v1/tenants/{tenant}",
    summary: "Removes a tenant that has no apps.",
    role: "operator",
    params: z.object({ tenant: s.appName }),
    result: z.object({ name: s.appName }),
  },
  evaluateFlag: {
    ...bare,
    method: "POST",
    path: "/apps/{app}/ofrep/v1/evaluate/flags/{key}",
    summary: "Evaluates a flag (OpenFeature's OFREP).",
    role: "viewer",
    params: byFlag,
    body: evaluationRequest,
    result: evaluation,
    ofrep: true,
  },
  evaluateFlags: {
    ...ofOneApp,
    method: "POST",
    path: "/apps/{app}/ofrep/v1/evaluate/flags",
    summary: "Evaluates all flags of an app (OpenFeature's OFREP).",
    role: "viewer",
    body: evaluationRequest,
    result: z.object({ flags: z.array(evaluation) }),
    ofrep: true,
  },
};
