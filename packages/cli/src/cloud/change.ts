/** What `spore releases`, `rollback`, `promote`, `env`, `secret`, `flag`, `stop` and `rm` do. */

import { readFileSync } from "node:fs";
import type { FlagValue } from "@spore/api";
import { sporeError } from "@spore/errors";
import type { Context } from "../command.ts";
import { all, connectDaemon } from "./connection.ts";
import { report, rolledOut } from "./deploy.ts";
import { ago, table } from "./table.ts";

interface Json {
  readonly json: boolean;
}

/** Carries out `spore releases`. */
export async function releases(flags: Json, app: string, context: Context): Promise<number> {
  const daemon = connectDaemon(context.env);
  const items = await all((after) =>
    daemon.call("listReleases", { params: { app }, query: { after, limit: 1000 } }),
  );
  if (flags.json) {
    context.out(`${JSON.stringify(items)}\n`);
    return 0;
  }
  const rows = items.map((release) => [
    String(release.number),
    release.live ? "live" : release.state,
    release.cause,
    release.image.slice(0, 12),
    ago(release.createdAt),
    release.previewUrl,
  ]);
  context.out(table(["RELEASE", "STATE", "CAUSE", "IMAGE", "AGE", "PREVIEW"], rows));
  return 0;
}

/** Carries out `spore rollback`. */
export async function rollback(
  flags: Json,
  app: string,
  wanted: string | undefined,
  context: Context,
): Promise<number> {
  if (wanted !== undefined && !/^[1-9]\d{0,8}$/.test(wanted)) {
    const problem = `RELEASE: expected a whole number such as 3, not ${JSON.stringify(wanted)}`;
    throw sporeError("SPORE_USAGE", { problem, command: "rollback" });
  }
  const release = wanted === undefined ? undefined : Number(wanted);
  const daemon = connectDaemon(context.env);
  const begin = () => daemon.call("rollback", { params: { app }, body: { release } });
  report(await rolledOut(daemon, begin), flags, context);
  return 0;
}

/** Carries out `spore promote`. */
export async function promote(flags: Json, app: string, context: Context): Promise<number> {
  const daemon = connectDaemon(context.env);
  report(await rolledOut(daemon, () => daemon.call("promote", { params: { app } })), flags, context);
  return 0;
}

/** Carries out `spore env`. */
export async function env(
  flags: Json & { readonly set: readonly (readonly [string, string])[]; readonly unset: readonly string[] },
  app: string,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  if (flags.set.length === 0 && flags.unset.length === 0) {
    const { env: variables } = await daemon.call("getEnv", { params: { app } });
    if (flags.json) context.out(`${JSON.stringify(variables)}\n`);
    else for (const [name, value] of Object.entries(variables)) context.out(`${name}=${value}\n`);
    return 0;
  }
  const body = { set: Object.fromEntries(flags.set), unset: flags.unset };
  const begin = () => daemon.call("changeEnv", { params: { app }, body });
  report(await rolledOut(daemon, begin), flags, context);
  return 0;
}

/** Carries out `spore secret`. Values come from standard input, so that no history keeps them. */
export async function secret(
  flags: Json & {
    readonly set: string | undefined;
    readonly "allow-empty": boolean;
    readonly unset: readonly string[];
  },
  app: string,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  if (flags.set === undefined && flags.unset.length === 0) {
    const { secrets } = await daemon.call("listSecrets", { params: { app } });
    const rows = secrets.map(({ name, version }) => [name, String(version)]);
    context.out(flags.json ? `${JSON.stringify(secrets)}\n` : table(["SECRET", "VERSION"], rows));
    return 0;
  }
  const set = flags.set === undefined ? {} : { [flags.set]: secretValue(flags.set, flags["allow-empty"]) };
  const body = { set, unset: flags.unset };
  const begin = async () => (await daemon.call("changeSecrets", { params: { app }, body })).deployment;
  const done = await rolledOut(daemon, begin);
  if (done === null && !flags.json) context.err(`spore: kept for the first release of ${app}\n`);
  else report(done, flags, context);
  return 0;
}

/** What standard input says, without the end of its line. Nothing is most often a file that is not there yet. */
function secretValue(name: string, allowEmpty: boolean): string {
  const value = readFileSync(0, "utf8").replace(/\r?\n$/, "");
  if (value === "" && !allowEmpty) throw sporeError("SPORE_SECRET_EMPTY", { name });
  return value;
}

/** Carries out `spore flag`. */
export async function flag(
  flags: Json & {
    readonly set: string | undefined;
    readonly on: boolean;
    readonly off: boolean;
    readonly variant: readonly (readonly [string, string])[];
    readonly remove: boolean;
  },
  app: string,
  key: string | undefined,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  if (key === undefined) {
    const { flags: all } = await daemon.call("listFlags", { params: { app } });
    const rows = all.map((found) => [
      found.key,
      found.enabled ? "on" : "off",
      found.variant,
      JSON.stringify(found.variants),
    ]);
    context.out(
      flags.json ? `${JSON.stringify(all)}\n` : table(["FLAG", "STATE", "VARIANT", "VARIANTS"], rows),
    );
    return 0;
  }
  if (flags.remove) {
    const removed = await daemon.call("deleteFlag", { params: { app, key } });
    if (flags.json) context.out(`${JSON.stringify(removed)}\n`);
    return 0;
  }
  const { flags: all } = await daemon.call("listFlags", { params: { app } });
  const before = all.find((found) => found.key === key);
  const given = flags.variant.map(([name, value]): [string, FlagValue] => [name, flagValue(value)]);
  const variants = { ...(before?.variants ?? { on: true, off: false }), ...Object.fromEntries(given) };
  const body = {
    enabled: flags.off ? false : flags.on || (before?.enabled ?? true),
    variants,
    variant: flags.set ?? before?.variant ?? "on",
  };
  const put = await daemon.call("putFlag", { params: { app, key }, body });
  if (flags.json) context.out(`${JSON.stringify(put)}\n`);
  else context.err(`spore: ${key} is ${put.enabled ? "on" : "off"}: ${put.variant}\n`);
  return 0;
}

/** Numbers and booleans are that; everything else is a text. */
function flagValue(text: string): FlagValue {
  if (text === "true" || text === "false") return text === "true";
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** Carries out `spore stop`. */
export async function stop(flags: Json, instance: string, context: Context): Promise<number> {
  const stopped = await connectDaemon(context.env).call("stopInstance", { params: { id: instance } });
  if (flags.json) context.out(`${JSON.stringify(stopped)}\n`);
  else context.err(`spore: ${instance} is stopping\n`);
  return 0;
}

/** Carries out `spore rm`. Asks for --yes instead of a prompt: what it does cannot be undone. */
export async function remove(
  flags: Json & { readonly yes: boolean },
  app: string,
  context: Context,
): Promise<number> {
  if (!flags.yes) {
    throw sporeError(
      "SPORE_USAGE",
      { problem: `this removes ${app} with its releases, secrets and logs`, command: "rm" },
      { next: `say so: \`spore rm --yes ${app}\`` },
    );
  }
  const removed = await connectDaemon(context.env).call("deleteApp", { params: { app } });
  if (flags.json) context.out(`${JSON.stringify(removed)}\n`);
  else context.err(`spore: ${app} is removed\n`);
  return 0;
}
