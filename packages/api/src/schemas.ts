/** The checks of everything in model.ts; the OpenAPI document is made from them. */

import * as z from "zod";
import type {
  ApiError,
  App,
  AppSettings,
  AppSettingsChange,
  Authority,
  Change,
  Crash,
  Deployment,
  Domain,
  EvaluationError,
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

const time = z.int().min(0).describe("Milliseconds since 1970.");
const count = z.int().min(0);
const variableName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
  .max(256);
const variableText = z
  .string()
  .max(32_768)
  .refine((text) => !text.includes("\0"), "must not hold a NUL");

/** A name that is a label of a host name, and not one of a preview (`r12`). */
export const appName: z.ZodType<string> = z
  .string()
  .regex(/^(?!r[0-9]+$)[a-z]([a-z0-9-]{0,40}[a-z0-9])?$/, {
    error: "must be lower-case letters, digits and dashes, at most 42, and not `r` and a number",
  })
  .describe("Lower-case letters, digits and dashes, at most 42; not `r` and a number.");

/** SHA-256, in hexadecimal. */
export const digest: z.ZodType<string> = z.string().regex(/^[0-9a-f]{64}$/);

/** Name of an environment variable or a secret. */
export const envName: z.ZodType<string> = variableName;

/** Variables by name. */
export const variables: z.ZodType<Record<string, string>> = z.record(variableName, variableText);

const scaling = z.strictObject({
  min: count.max(1000),
  max: z.int().min(1).max(1000),
  concurrency: z.int().min(1).max(100_000),
  target: z.int().min(1).max(100_000).nullable(),
  burst: count.max(100_000),
  windowMs: z.int().min(60).max(3_600_000),
  panicWindowMs: z.int().min(1).max(3_600_000),
  idleMs: z.int().min(0).max(86_400_000),
});
const domain = z
  .string()
  .max(500)
  .regex(
    /^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(\/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*$/,
  )
  .refine((text) => !/\/\.\.?(\/|$)/.test(text), "a path must not hold . or ..")
  .describe("A host name, `*.` for all below it, with a path if only what is below that is meant.");
const destination = z
  .string()
  .min(1)
  .max(300)
  .regex(/^[A-Za-z0-9.:/*[\]-]+$/)
  .describe("A CIDR range or a name, with a port if one follows a colon.");
const timeout = z.int().min(1).max(86_400_000);
const settingsFields = z.strictObject({
  scaling,
  domains: z.array(domain).max(100),
  tcp: z.int().min(1).max(65_535).nullable(),
  network: z.strictObject({ allow: z.array(destination).max(1000).nullable() }),
  startTimeoutMs: timeout,
  requestTimeoutMs: timeout,
  bodyLimit: count.nullable(),
  drainTimeoutMs: timeout,
  connectionIdleMs: z.int().min(0).max(86_400_000).nullable(),
  keepConnections: z.boolean(),
});

/** Settings of an app. */
export const appSettings: z.ZodType<AppSettings> = settingsFields;

/** Settings to change. */
export const appSettingsChange: z.ZodType<AppSettingsChange> = settingsFields
  .extend({ scaling: scaling.partial() })
  .partial();

const reason = z.enum([
  "demand",
  "minimum",
  "rollout",
  "listening",
  "adopted",
  "idle",
  "superseded",
  "requested",
  "exited",
  "crashed",
  "start-timeout",
  "unhealthy",
  "hung",
  "start-failed",
  "lost",
]);

const instanceFields = z.strictObject({
  id: z.string(),
  app: appName,
  release: count,
  state: z.enum(["starting", "ready", "draining", "stopped"]),
  reason,
  start: z.enum(["warm", "snapshot", "cold"]),
  pid: z.int().nullable(),
  createdAt: time,
  readyAt: time.nullable(),
  stoppedAt: time.nullable(),
  outcome: z.string().nullable(),
  inFlight: count,
});

/** An instance. */
export const instance: z.ZodType<Instance> = instanceFields;

/** An app. */
export const app: z.ZodType<App> = z.strictObject({
  name: appName,
  tenant: z.string(),
  project: z.string(),
  url: z.string(),
  createdAt: time,
  live: count.nullable(),
  canary: z.strictObject({ release: count, percent: z.number().min(0).max(100) }).nullable(),
  settings: appSettings,
  instances: z.strictObject({ starting: count, ready: count, draining: count }),
});

const configFields = z.strictObject({
  env: variables,
  secrets: z.record(variableName, count),
  args: z.array(z.string().max(32_768)).max(1000).nullable(),
  cwd: z.string().startsWith("/").max(4096).nullable(),
  memory: z
    .int()
    .min(1)
    .max(2 ** 40)
    .nullable(),
  port: z.int().min(1).max(65_535).nullable(),
  health: z
    .string()
    .regex(/^\/[\x21-\x7e]*$/)
    .max(2048)
    .nullable(),
  ready: z.enum(["listen", "signal"]),
  snapshot: z.boolean(),
});

/** What a release is beside its image. */
export const releaseConfig: z.ZodType<ReleaseConfig> = configFields;

/** What a deploy may say of the configuration; what is absent stays as in the live release. */
export const releaseChange: z.ZodType<Change<Omit<ReleaseConfig, "secrets">>> = configFields
  .omit({ secrets: true })
  .partial();

/** A release. */
export const release: z.ZodType<Release> = z.strictObject({
  app: appName,
  number: count,
  image: digest,
  imageName: z.string(),
  memory: count,
  config: releaseConfig,
  state: z.enum(["created", "ready", "failed"]),
  createdAt: time,
  live: z.boolean(),
  previewUrl: z.string(),
  cause: z.string(),
});

const problem = z.strictObject({ code: z.string(), message: z.string(), next: z.string() });

/** A rollout. */
export const deployment: z.ZodType<Deployment> = z.strictObject({
  id: z.string(),
  app: appName,
  release: count,
  state: z.enum(["created", "starting", "checking", "freezing", "switching", "draining", "live", "failed"]),
  problem: problem.nullable(),
  createdAt: time,
  finishedAt: time.nullable(),
  url: z.string(),
});

/** An event. */
export const event: z.ZodType<Event> = z.strictObject({
  seq: count,
  time,
  kind: z.string(),
  app: z.string().nullable(),
  release: count.nullable(),
  instance: z.string().nullable(),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
});

/** A line of a log. */
export const logLine: z.ZodType<LogLine> = z.strictObject({
  seq: count,
  time,
  app: z.string(),
  release: count,
  instance: z.string(),
  text: z.string(),
  lost: count,
});

/** A crash. */
export const crash: z.ZodType<Crash> = z.strictObject({
  id: z.string(),
  app: appName,
  release: count,
  time,
  reason,
  outcome: z.string(),
  lines: z.array(z.string()),
});

/** A role. */
export const role: z.ZodType<Role> = z.enum(["viewer", "deployer", "admin", "operator"]);

const tokenFields = z.strictObject({
  id: z.string(),
  name: z.string().max(100),
  tenant: z.string(),
  project: z.string().nullable(),
  role,
  createdAt: time,
});

/** A token without its secret. */
export const token: z.ZodType<Token> = tokenFields;

/** A token with its secret. */
export const newToken: z.ZodType<NewToken> = tokenFields.extend({ secret: z.string() });

const limit = z.int().min(0).nullable();
const quotaFields = z.strictObject({
  apps: limit,
  instances: limit,
  memory: limit,
  cpu: limit,
  storage: limit,
  wakesPerMinute: limit,
  requestsPerMinute: limit,
});

/** Quotas to change. */
export const quotasChange: z.ZodType<Change<Quotas>> = quotaFields.partial();

const port = z.int().min(1).max(65_535);

/** Ports that a tenant's apps may listen on. */
export const portRange: z.ZodType<PortRange> = z.strictObject({ from: port, to: port });

/** A host name. */
export const hostName: z.ZodType<string> = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$/)
  .describe("A host name of at least two labels, in lower case.");

/** A domain of a tenant. */
export const ownedDomain: z.ZodType<Domain> = z.strictObject({
  name: z.string(),
  tenant: z.string(),
  how: z.enum(["proved", "granted"]),
  createdAt: time,
});

/** A tenant. */
export const tenant: z.ZodType<Tenant> = z.strictObject({
  name: appName,
  quotas: quotaFields,
  ports: portRange.nullable(),
  createdAt: time,
});

/** A project. */
export const project: z.ZodType<Project> = z.strictObject({
  name: appName,
  tenant: z.string(),
  createdAt: time,
});

/** A value of a flag. */
export const flagValue: z.ZodType<FlagValue> = z.union([z.boolean(), z.number(), z.string().max(32_768)]);

/** The key of a flag. */
export const flagKey: z.ZodType<string> = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);

const flagFields = z.strictObject({
  key: flagKey,
  enabled: z.boolean(),
  variants: z.record(z.string().min(1).max(128), flagValue),
  variant: z.string(),
  updatedAt: time,
});

/** A flag. */
export const flag: z.ZodType<Flag> = flagFields;

/** What is said of a flag to set it. */
export const flagChange: z.ZodType<Omit<Flag, "key" | "updatedAt">> = flagFields.omit({
  key: true,
  updatedAt: true,
});

/** The daemon. */
export const status: z.ZodType<Status> = z.strictObject({
  version: z.string(),
  pid: z.int().nullable(),
  home: z.string().nullable(),
  startedAt: time,
  gateway: z.string(),
  apps: count,
  instances: count,
});

/** The development authority. */
export const authority: z.ZodType<Authority> = z.strictObject({
  domain: z.string(),
  certificate: z.string(),
  fingerprint: z.string(),
});

/** A number of the daemon. */
export const metric: z.ZodType<Metric> = z.strictObject({
  name: z.string(),
  help: z.string(),
  type: z.string(),
  values: z.array(
    z.strictObject({ name: z.string(), labels: z.record(z.string(), z.string()), value: z.number() }),
  ),
});

/** What went wrong. */
export const apiError: z.ZodType<ApiError> = z.strictObject({ error: problem });

/** What went wrong with an evaluation, as OFREP tells it. */
export const evaluationError: z.ZodType<EvaluationError> = z.strictObject({
  key: z.string().optional(),
  errorCode: z.enum(["FLAG_NOT_FOUND", "PARSE_ERROR", "GENERAL"]),
  errorDetails: z.string(),
});

/** A part of a list. */
export function page<T>(item: z.ZodType<T>): z.ZodType<Page<T>> {
  return z.strictObject({ items: z.array(item), next: z.string().nullable() });
}
