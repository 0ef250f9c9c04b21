/** What `spore token`, `spore project`, `spore domain` and `spore tenant` do. */

import type { PortRange, Quotas, Role, Tenant } from "@spore/api";
import { sporeError } from "@spore/errors";
import type { Context } from "../command.ts";
import { all, connectDaemon } from "./connection.ts";
import { ago, table } from "./table.ts";

/** The flags of `spore token`. */
export interface TokenFlags {
  readonly create: string | undefined;
  readonly role: Role | undefined;
  readonly tenant: string | undefined;
  readonly project: string | undefined;
  readonly remove: string | undefined;
  readonly json: boolean;
}

/** Carries out `spore token`. */
export async function token(flags: TokenFlags, context: Context): Promise<number> {
  const daemon = connectDaemon(context.env);
  if (flags.create !== undefined) {
    const { role = "deployer", tenant, project, create: name } = flags;
    const made = await daemon.call("createToken", { body: { name, role, tenant, project } });
    if (flags.json) context.out(`${JSON.stringify(made)}\n`);
    else {
      context.err(
        `spore: a token for ${made.role} of ${made.tenant}${project === undefined ? "" : `/${project}`}; this is the only time that it is shown\n`,
      );
      context.out(`${made.secret}\n`);
    }
    return 0;
  }
  if (flags.remove !== undefined) {
    const removed = await daemon.call("deleteToken", { params: { id: flags.remove } });
    if (flags.json) context.out(`${JSON.stringify(removed)}\n`);
    return 0;
  }
  const items = await all((after) => daemon.call("listTokens", { query: { after, limit: 1000 } }));
  const rows = items.map(({ id, name, role, tenant, project, createdAt }) => [
    id,
    name,
    role,
    tenant,
    project ?? "-",
    ago(createdAt),
  ]);
  const heading = ["TOKEN", "NAME", "ROLE", "TENANT", "PROJECT", "AGE"];
  context.out(flags.json ? `${JSON.stringify(items)}\n` : table(heading, rows));
  return 0;
}

/** The flags of `spore project`. */
export interface ProjectFlags {
  readonly remove: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

/** Carries out `spore project`. */
export async function project(
  flags: ProjectFlags,
  name: string | undefined,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  if (name === undefined) {
    const items = await all((after) => daemon.call("listProjects", { query: { after, limit: 1000 } }));
    const rows = items.map(({ name: found, createdAt }) => [found, ago(createdAt)]);
    context.out(flags.json ? `${JSON.stringify(items)}\n` : table(["PROJECT", "AGE"], rows));
    return 0;
  }
  if (flags.remove && !flags.yes) {
    throw sporeError(
      "SPORE_USAGE",
      { problem: `this removes ${name} with its tokens`, command: "project" },
      { next: `say so: \`spore project --remove --yes ${name}\`` },
    );
  }
  const params = { project: name };
  const done = flags.remove
    ? await daemon.call("deleteProject", { params })
    : await daemon.call("putProject", { params });
  if (flags.json) context.out(`${JSON.stringify(done)}\n`);
  return 0;
}

/** The flags of `spore domain`. */
export interface DomainFlags {
  readonly tenant: string | undefined;
  readonly remove: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

/** Carries out `spore domain`. */
export async function domain(
  flags: DomainFlags,
  name: string | undefined,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  if (name === undefined) {
    const items = await all((after) => daemon.call("listDomains", { query: { after, limit: 1000 } }));
    const rows = items.map((found) => [found.name, found.tenant, found.how, ago(found.createdAt)]);
    context.out(flags.json ? `${JSON.stringify(items)}\n` : table(["DOMAIN", "TENANT", "HOW", "AGE"], rows));
    return 0;
  }
  if (flags.remove && !flags.yes) {
    throw sporeError(
      "SPORE_USAGE",
      { problem: `this takes ${name} away from its tenant`, command: "domain" },
      { next: `say so: \`spore domain --remove --yes ${name}\`` },
    );
  }
  const params = { domain: name };
  if (flags.remove) {
    const removed = await daemon.call("deleteDomain", { params });
    if (flags.json) context.out(`${JSON.stringify(removed)}\n`);
    return 0;
  }
  const put = await daemon.call("putDomain", { params, body: { tenant: flags.tenant } });
  if (flags.json) context.out(`${JSON.stringify(put)}\n`);
  else context.err(`spore: ${put.name} is ${put.tenant}'s\n`);
  return 0;
}

/** The flags of `spore tenant`. */
export interface TenantFlags {
  readonly create: boolean;
  readonly quota: readonly (readonly [string, string])[];
  readonly ports: PortRange | null | undefined;
  readonly remove: boolean;
  readonly yes: boolean;
  readonly json: boolean;
}

const quotaNames: readonly (keyof Quotas)[] = [
  "apps",
  "instances",
  "memory",
  "cpu",
  "storage",
  "wakesPerMinute",
  "requestsPerMinute",
];

/** Carries out `spore tenant`. */
export async function tenant(
  flags: TenantFlags,
  name: string | undefined,
  context: Context,
): Promise<number> {
  const daemon = connectDaemon(context.env);
  if (name === undefined) {
    const items = await all((after) => daemon.call("listTenants", { query: { after, limit: 1000 } }));
    const rows = items.map(({ name: found, quotas, ports }) => [
      found,
      portsOf(ports),
      ...quotaNames.map((quota) => String(quotas[quota] ?? "-")),
    ]);
    context.out(flags.json ? `${JSON.stringify(items)}\n` : table(["TENANT", "PORTS", ...quotaNames], rows));
    return 0;
  }
  if (flags.remove && !flags.yes) {
    throw sporeError(
      "SPORE_USAGE",
      { problem: `this removes ${name} with its tokens`, command: "tenant" },
      { next: `say so: \`spore tenant --remove --yes ${name}\`` },
    );
  }
  const done = flags.remove
    ? await daemon.call("deleteTenant", { params: { tenant: name } })
    : await daemon.call("putTenant", {
        params: { tenant: name },
        body: { quotas: quotasOf(flags.quota), ports: flags.ports },
      });
  if (flags.json) context.out(`${JSON.stringify(done)}\n`);
  return 0;
}

function portsOf(ports: Tenant["ports"]): string {
  if (ports === null) return "-";
  return ports.from === ports.to ? String(ports.from) : `${ports.from}-${ports.to}`;
}

function quotasOf(given: TenantFlags["quota"]): Partial<Quotas> {
  return Object.fromEntries(
    given.map(([name, text]) => {
      if (!quotaNames.some((known) => known === name)) {
        const next = `quotas are ${quotaNames.join(", ")}`;
        throw sporeError("SPORE_USAGE", { problem: `unknown quota ${name}`, command: "tenant" }, { next });
      }
      return [name, text === "none" ? null : limitOf(name, text)];
    }),
  );
}

/** A number, or a size for what is measured in bytes. */
function limitOf(name: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  if (name === "memory" || name === "storage") {
    const [, digits, unit = ""] = /^(\d{1,9})([KMGT])i?B?$/i.exec(text) ?? [];
    if (digits !== undefined) return Number(digits) * 1024 ** ("KMGT".indexOf(unit.toUpperCase()) + 1);
  }
  const problem = `quota ${name}: expected a number, or none`;
  throw sporeError("SPORE_USAGE", { problem, command: "tenant" });
}
