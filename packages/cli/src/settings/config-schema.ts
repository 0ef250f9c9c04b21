/**
 * What spore.config.ts may hold, as a schema. Loaded only when there is such a
 * file: the schema library takes longer to load than Node takes to start.
 */

import type { HealthCheck } from "@spore/image";
import type { SporeConfig } from "@spore/sdk";
import * as z from "zod";
import { Mistake, type Read } from "../command.ts";
import type { Config } from "./config-file.ts";
import { nodeMajors, readDestination, readGuestPath, readMemory, readPublish } from "./values.ts";

/** A string that one of the flags' readers accepts. */
function read<T>(reader: Read<T>) {
  return z.string().transform((text, context): T => {
    try {
      return reader(text);
    } catch (thrown) {
      if (!(thrown instanceof Mistake)) throw thrown;
      context.addIssue(thrown.message);
      return z.NEVER;
    }
  });
}

const port = z.int().min(0).max(65535);
const publish = z.union([
  read(readPublish),
  z.strictObject({
    address: z.union([z.ipv4(), z.ipv6()]).default("127.0.0.1"),
    host: port,
    guest: port.min(1),
    protocol: z.literal("udp").optional(),
  }),
]);
const include = z.union([
  z.string().min(1),
  z
    .strictObject({ host: z.string().min(1), guest: z.string().startsWith("/").optional() })
    .transform((option: Readonly<{ host: string; guest?: string | undefined }>) =>
      option.guest === undefined ? option.host : `${option.host}:${option.guest}`,
    ),
]);

/** A health check as it is written down. */
interface HealthInput {
  readonly path: string;
  readonly port?: number | undefined;
  readonly interval?: number | undefined;
  readonly timeout?: number | undefined;
  readonly failures?: number | undefined;
}

const httpPath = z.string().regex(/^\/[!-~]*$/, "expected a path such as /health");
const health = z
  .union([
    httpPath.transform((path) => ({ path })),
    z.strictObject({
      path: httpPath,
      port: port.min(1).optional(),
      interval: z.int().min(100).optional(),
      timeout: z.int().min(10).optional(),
      failures: z.int().min(1).max(1000).optional(),
    }),
  ])
  .transform(
    ({ path, port: at, interval = 10_000, timeout = 2_000, failures = 3 }: HealthInput): HealthCheck => ({
      path,
      port: at ?? null,
      intervalMs: interval,
      timeoutMs: timeout,
      failures,
    }),
  );
const id = z.int().min(0).max(0xffff_fffe);

/** A list without repetitions. */
function set<T extends z.ZodType>(item: T) {
  return z.array(item).refine((all) => new Set(all).size === all.length, "says something twice");
}

const schema = z.strictObject({
  entry: z.string().min(1).optional(),
  publish: z.array(publish).optional(),
  env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]*$/), z.string()).optional(),
  envFile: z.string().min(1).optional(),
  memory: z.union([read(readMemory), z.int().positive()]).optional(),
  include: z.array(include).optional(),
  cwd: read(readGuestPath).optional(),
  node: z.literal([...nodeMajors]).optional(),
  args: z.array(z.string()).optional(),
  patch: z.boolean().optional(),
  pieces: z.enum(["full", "derived", "recorded"]).optional(),
  ports: set(port.min(1)).optional(),
  destinations: set(read(readDestination)).optional(),
  devices: set(z.enum(["console", "network"])).optional(),
  user: z.strictObject({ uid: id, gid: id }).optional(),
  stopSignal: z.enum(["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"]).optional(),
  health: health.optional(),
});

/** The configuration, or what is wrong with it. */
export function checkConfig(found: unknown): { readonly config: Config } | { readonly problem: string } {
  const result = schema.safeParse(found);
  if (result.success) return { config: result.data };
  const [issue] = result.error.issues;
  if (issue === undefined) return { problem: "not as expected" };
  const place = issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  return { problem: `${place}${messageOf(issue)}` };
}

/** Of the ways in which every kind of value failed, what one of our readers says is the clearest. */
function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== "invalid_union") return issue.message;
  const inner = issue.errors.flat().find(({ code }) => code !== "invalid_type");
  return inner?.message ?? issue.message;
}

/** What defineConfig accepts is what the schema accepts, field by field. */
type Accepted = z.input<typeof schema>;
const _sdkFitsSchema: (config: SporeConfig) => Accepted = (config) => config;
const _schemaKnowsOnlySdkFields: (key: keyof Accepted) => keyof SporeConfig = (key) => key;
void [_sdkFitsSchema, _schemaKnowsOnlySdkFields];
