/** What `spore deploy` does: builds here, uploads what is missing, follows the rollout. */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { basename, resolve } from "node:path";
import type { App, AppSettingsChange, Deployment, Event } from "@spore/api";
import { type ErrorCode, registry, SporeError, sporeError } from "@spore/errors";
import { type Blob, type BlobPlace, buildImage, type Image } from "@spore/image";
import type { Context } from "../command.ts";
import { explain } from "../explain.ts";
import { checkTarget } from "../run.ts";
import { type ImageFlags, resolveSettings } from "../settings/resolve.ts";
import { type Connection, connectDaemon } from "./connection.ts";

/** The flags of `spore deploy`, as the parser gives them. */
export interface DeployFlags extends ImageFlags {
  readonly name: string | undefined;
  readonly project: string | undefined;
  readonly port: number | undefined;
  readonly health: string | undefined;
  readonly ready: "listen" | "signal" | undefined;
  readonly canary: number | undefined;
  readonly fresh: boolean;
  readonly min: number | undefined;
  readonly max: number | undefined;
  readonly concurrency: number | undefined;
  readonly target: number | undefined;
  readonly burst: number | undefined;
  readonly window: number | undefined;
  readonly "panic-window": number | undefined;
  readonly idle: number | undefined;
  readonly timeout: number | undefined;
  readonly "start-timeout": number | undefined;
  readonly "drain-timeout": number | undefined;
  readonly "body-limit": number | null | undefined;
  readonly domain: readonly string[];
  readonly allow: readonly string[];
  readonly tcp: number | undefined;
  readonly "connection-idle": number | null | undefined;
  readonly connections: "keep" | "close" | undefined;
  readonly "no-snapshot": boolean;
  readonly json: boolean;
}

/** Carries out `spore deploy`. */
export async function deploy(
  invocation: {
    readonly options: DeployFlags;
    readonly words: readonly string[];
    readonly rest: readonly string[] | undefined;
  },
  context: Context,
): Promise<number> {
  const { options: flags, words, rest } = invocation;
  const target = words[0] ?? ".";
  checkTarget(target, context.cwd);
  const daemon = connectDaemon(context.env);
  // Before the build: without a daemon it would be in vain.
  await daemon.call("status");
  const settings = await resolveSettings(target, flags, rest, context.cwd);
  const built = await buildImage(settings.contents);
  if (flags.explain) explain(built, settings.configFile, context);
  const image = await upload(built.image, daemon);
  const app = flags.name ?? nameOf(resolve(context.cwd, target), built.image.name);
  const { args, env, cwd, memory, publish } = settings.defaults;
  const port = flags.port ?? publish?.find(({ protocol }) => protocol === undefined)?.guest;
  const body = {
    image,
    project: flags.project,
    config: {
      args,
      env,
      cwd,
      memory,
      port,
      health: flags.health,
      ready: flags.ready,
      ...(flags["no-snapshot"] && { snapshot: false }),
    },
    settings: settingsOf(flags),
    canary: flags.canary,
    ...(flags.fresh && { fresh: true }),
  };
  const done = await rolledOut(daemon, () => daemon.call("deploy", { params: { app }, body }));
  // The first release of an app gets all requests, whatever was asked for.
  const canary =
    flags.canary === undefined ? null : (await daemon.call("getApp", { params: { app } })).canary;
  report(done, flags, context, canary?.release === done?.release ? canary : null);
  return 0;
}

/** The name of the project's folder or of the program. */
function nameOf(target: string, imageName: string): string {
  const name = basename(target)
    .replace(/\.(spore|ts|js|mjs)$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+|-+$/g, "")
    .slice(0, 42);
  return name === "" || /^r\d+$/.test(name) ? imageName : name;
}

/** Uploads what is missing of an image; gives its digest. */
async function upload(image: Image, daemon: Connection): Promise<string> {
  const { imageDocuments } = await import("@spore/image/store");
  const parts = new Map<string, () => AsyncIterable<Uint8Array>>();
  for (const blob of [image.kernel, ...image.layers, ...image.documents]) {
    parts.set(blob.sha256, () => bytesOf(blob));
  }
  // The manifest last: once it is there, all that it names is.
  for (const text of imageDocuments(image)) {
    const bytes = Buffer.from(text);
    parts.set(createHash("sha256").update(bytes).digest("hex"), () => one(bytes));
  }
  const { missing } = await daemon.call("missingBlobs", { body: { digests: [...parts.keys()] } });
  for (const digest of new Set(missing)) {
    const bytes = parts.get(digest);
    if (bytes !== undefined) await daemon.call("putBlob", { params: { digest }, body: bytes() });
  }
  await daemon.call("putImage", { params: { digest: image.digest } });
  return image.digest;
}

function bytesOf({ path, offset, length }: Blob & BlobPlace): AsyncIterable<Uint8Array> {
  if (length === 0) return one(new Uint8Array(0));
  return createReadStream(path, { start: offset, end: offset + length - 1, highWaterMark: 1 << 20 });
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

function settingsOf(flags: DeployFlags): AppSettingsChange {
  const { min, max, concurrency, target, burst, window: windowMs, "panic-window": panicWindowMs } = flags;
  const { idle: idleMs, domain, allow, tcp, "connection-idle": connectionIdleMs } = flags;
  return {
    connectionIdleMs,
    ...(flags.connections !== undefined && { keepConnections: flags.connections === "keep" }),
    requestTimeoutMs: flags.timeout,
    startTimeoutMs: flags["start-timeout"],
    drainTimeoutMs: flags["drain-timeout"],
    bodyLimit: flags["body-limit"],
    scaling: { min, max, concurrency, target, burst, windowMs, panicWindowMs, idleMs },
    ...(domain.length > 0 && { domains: domain }),
    ...(allow.length > 0 && { network: { allow } }),
    ...(tcp !== undefined && { tcp }),
  };
}

/**
 * Begins a rollout and waits until it has ended. Follows events from before it begins,
 * so that no step is missed. Throws why it failed; null if `begin` began none.
 */
export async function rolledOut(
  daemon: Connection,
  begin: () => Promise<Deployment | null>,
): Promise<Deployment | null> {
  const following = new AbortController();
  const events = await daemon.follow("followEvents", { signal: following.signal });
  try {
    const deployment = await begin();
    return deployment === null ? null : await finished(deployment, daemon, events);
  } finally {
    // Nothing that went wrong may leave the connection open, and the command with it.
    following.abort();
  }
}

/** Waits until a rollout has ended. */
async function finished(
  deployment: Deployment,
  daemon: Connection,
  events: AsyncIterable<Event>,
): Promise<Deployment> {
  for await (const { kind, details } of events) {
    if (details["deployment"] === deployment.id && /^deployment\.(live|failed)$/.test(kind)) break;
  }
  const done = await daemon.call("getDeployment", { params: { id: deployment.id } });
  if (done.problem !== null) {
    const { code, message, next } = done.problem;
    const known = Object.hasOwn(registry, code) ? (code as ErrorCode) : "SPORE_INTERNAL";
    throw new SporeError(known, message, { next });
  }
  if (done.state !== "live") {
    throw sporeError("SPORE_DAEMON_UNREACHABLE", {
      address: done.app,
      problem: "it ended during the rollout",
    });
  }
  return done;
}

/** Says where the app is. */
export function report(
  done: Deployment | null,
  flags: { readonly json: boolean },
  context: Context,
  canary: App["canary"] = null,
): void {
  if (flags.json || done === null) {
    context.out(`${JSON.stringify(done)}\n`);
    return;
  }
  const { app, release } = done;
  context.err(
    canary === null
      ? `spore: ${app} release ${release} is live\n`
      : `spore: ${app} release ${release} gets ${canary.percent} % of the requests; ` +
          `\`spore promote ${app}\` gives it all of them, \`spore rollback ${app}\` none\n`,
  );
  context.out(`${done.url}\n`);
}
