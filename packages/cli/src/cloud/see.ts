/** What `spore ps`, `logs`, `events` and `inspect` do. */

import type { App, Crash, Event, LogLine } from "@spore/api";
import { sporeError } from "@spore/errors";
import type { Context } from "../command.ts";
import { all, type Connection, connectDaemon, followOn } from "./connection.ts";
import { ago, table } from "./table.ts";

/** Flags that all of them have. */
interface Json {
  readonly json: boolean;
}

/** Carries out `spore ps`. */
export async function ps(
  flags: Json & { readonly all: boolean; readonly project: string | undefined },
  app: string | undefined,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  const { project } = flags;
  const known = await all((after) => daemon.call("listApps", { query: { project, after, limit: 1000 } }));
  const apps = app === undefined ? known : known.filter(({ name }) => name === app);
  const found = await all((after) =>
    daemon.call("listInstances", {
      query: { app, all: flags.all || undefined, after, limit: 1000 },
    }),
  );
  const names = new Set(apps.map(({ name }) => name));
  const instances = project === undefined ? found : found.filter(({ app: its }) => names.has(its));
  if (flags.json) {
    context.out(`${JSON.stringify({ apps, instances })}\n`);
    return 0;
  }
  const appRows = apps.map((each) => [
    each.name,
    each.project,
    each.live === null ? "-" : String(each.live),
    stateOf(each),
    each.url,
  ]);
  context.out(table(["APP", "PROJECT", "RELEASE", "STATE", "URL"], appRows));
  if (instances.length === 0) return 0;
  const rows = instances.map((instance) => [
    instance.id,
    instance.app,
    String(instance.release),
    instance.state,
    instance.reason,
    instance.start,
    String(instance.inFlight),
    ago(instance.createdAt),
    instance.outcome ?? "",
  ]);
  const heading = ["INSTANCE", "APP", "RELEASE", "STATE", "REASON", "START", "REQUESTS", "AGE", "OUTCOME"];
  context.out(`\n${table(heading, rows)}`);
  return 0;
}

function stateOf({ live, instances: { starting, ready, draining } }: App): string {
  if (live === null) return "not deployed";
  if (ready > 0) return `awake (${ready})`;
  if (starting > 0) return "waking";
  return draining > 0 ? "stopping" : "asleep";
}

/** Carries out `spore logs`. */
export async function logs(
  flags: Json & {
    readonly follow: boolean;
    readonly last: number | undefined;
    readonly after: number | undefined;
  },
  app: string,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  const say = (line: LogLine): void =>
    context.out(flags.json ? `${JSON.stringify(line)}\n` : `${logText(line)}\n`);
  const { last = 100, after } = flags;
  if (flags.follow) {
    const follow = (seen = after) =>
      daemon.follow("followLogs", {
        params: { app },
        query: seen === undefined ? { last } : { after: seen },
      });
    for await (const line of followOn(follow, context.err)) say(line);
    return 0;
  }
  let query: { readonly after?: number; readonly last?: number; readonly limit: number } =
    after === undefined ? { last, limit: 1000 } : { after, limit: 1000 };
  for (;;) {
    const { items, next } = await daemon.call("readLogs", { params: { app }, query });
    items.forEach(say);
    if (next === null) return 0;
    query = { after: Number(next), limit: 1000 };
  }
}

/** A line with where and when it came from; a gap is plain to see. */
function logText({ seq, time, release, instance, text, lost }: LogLine): string {
  const start = `${new Date(time).toISOString()} r${release} ${instance.slice(-6)} ${seq}`;
  return lost > 0 ? `${start} --- ${lost} bytes or lines are missing here ---` : `${start} ${text}`;
}

/** Carries out `spore events`. */
export async function events(
  flags: Json & { readonly follow: boolean; readonly after: number | undefined },
  app: string | undefined,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  const say = (event: Event): void =>
    context.out(flags.json ? `${JSON.stringify(event)}\n` : `${eventText(event)}\n`);
  let after = flags.after ?? 0;
  for (;;) {
    const { items, next } = await daemon.call("listEvents", { query: { app, after, limit: 1000 } });
    items.forEach(say);
    after = items.at(-1)?.seq ?? after;
    if (next === null) break;
  }
  if (!flags.follow) return 0;
  const follow = (seen = after) => daemon.follow("followEvents", { query: { app, after: seen } });
  for await (const event of followOn(follow, context.err)) say(event);
  return 0;
}

function eventText({ seq, time, kind, app, release, instance, details }: Event): string {
  const about = [
    app === null ? [] : [release === null ? app : `${app} r${release}`],
    instance === null ? [] : [instance],
  ].flat();
  const said = Object.entries(details).flatMap(([name, value]) =>
    value === null ? [] : [`${name}=${value}`],
  );
  return [new Date(time).toISOString(), seq, kind, ...about, ...said].join(" ");
}

/** Carries out `spore crash`: the crashes of an app, or all that is known of one. */
export async function crash(flags: Json, words: readonly string[], context: Context): Promise<number> {
  const daemon = connectDaemon(context.env);
  const [what = "", shown] = words;
  if (shown !== undefined && what !== "show") {
    throw sporeError("SPORE_USAGE", { problem: `unexpected word "${shown}"`, command: "crash" });
  }
  if (what === "show" || instanceId.test(what)) {
    const id = what === "show" ? shown : what;
    const found =
      id !== undefined && instanceId.test(id)
        ? await daemon.call("getCrash", { params: { id } })
        : await newestCrash(id, daemon);
    const { app, release, time, reason, outcome, lines } = found;
    const about = `${app} r${release}, ${new Date(time).toISOString()}: ${reason}, ${outcome}`;
    context.out(flags.json ? `${JSON.stringify(found)}\n` : `${[about, "", ...lines].join("\n")}\n`);
    return 0;
  }
  const items = await all((after) =>
    daemon.call("listCrashes", { params: { app: what }, query: { after, limit: 1000 } }),
  );
  const rows = items.map(({ id, release, time, reason, outcome }) => [
    id,
    String(release),
    ago(time),
    reason,
    outcome,
  ]);
  const heading = ["INSTANCE", "RELEASE", "AGE", "REASON", "OUTCOME"];
  context.out(flags.json ? `${JSON.stringify(items)}\n` : table(heading, rows));
  return 0;
}

/** The last crash of an app, or of all of them. */
async function newestCrash(app: string | undefined, daemon: Connection): Promise<Crash> {
  const apps =
    app === undefined
      ? (await all((after) => daemon.call("listApps", { query: { after, limit: 1000 } }))).map(
          ({ name }) => name,
        )
      : [app];
  const lists = await Promise.all(
    apps.map((each) =>
      all((after) => daemon.call("listCrashes", { params: { app: each }, query: { after, limit: 1000 } })),
    ),
  );
  const newest = lists
    .flat()
    .sort((a, b) => a.time - b.time)
    .at(-1);
  if (newest === undefined) throw sporeError("SPORE_NOT_FOUND", { what: `crash of ${app ?? "any app"}` });
  return newest;
}

const instanceId = /^[0-9a-z]{9}-[0-9a-f]{10}$/;

/** Carries out `spore metrics`: as Prometheus writes them. */
export async function metrics(flags: Json, start: string, context: Context): Promise<number> {
  const { metrics: all } = await connectDaemon(context.env).call("getMetrics");
  const found = all.filter(({ name }) => name.startsWith(start));
  if (flags.json) {
    context.out(`${JSON.stringify(found)}\n`);
    return 0;
  }
  for (const { name, help, type, values } of found) {
    context.out(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
    for (const { name: own, labels, value } of values) {
      const pairs = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`);
      context.out(`${own}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}\n`);
    }
  }
  return 0;
}

/** Carries out `spore inspect`: all that is known of an app or an instance. */
export async function inspect(what: string, context: Context): Promise<number> {
  const daemon = connectDaemon(context.env);
  if (instanceId.test(what)) {
    const instance = await daemon.call("getInstance", { params: { id: what } });
    context.out(`${JSON.stringify(instance, null, 2)}\n`);
    return 0;
  }
  const params = { app: what };
  const app = await daemon.call("getApp", { params });
  const release =
    app.live === null ? null : await daemon.call("getRelease", { params: { ...params, release: app.live } });
  const { items: instances } = await daemon.call("listInstances", { query: { app: what, all: true } });
  const { secrets } = await daemon.call("listSecrets", { params });
  const { flags } = await daemon.call("listFlags", { params });
  context.out(`${JSON.stringify({ app, release, instances, secrets, flags }, null, 2)}\n`);
  return 0;
}
