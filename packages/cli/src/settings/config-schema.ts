/**
 * What spore.config.ts may hold, as a schema. Loaded only when there is such a
 * file: the schema library takes longer to load than Node takes to start.
 */

import type { SporeConfig } from "@spore/sdk";
import * as z from "zod";
import { Mistake, type Read } from "../command.ts";
import type { Config } from "./config-file.ts";
import { nodeMajors, readGuestPath, readMemory, readPublish } from "./values.ts";

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
