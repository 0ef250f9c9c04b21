/** `spore token`, `spore project`, `spore domain` and `spore tenant`. */

import type { PortRange, Role } from "@spore/api";
import { type Command, command, flag, list, Mistake, value } from "../command.ts";
import { readPort, readText, readVariable } from "../settings/values.ts";
import { json } from "./cloud-options.ts";

const roles: readonly Role[] = ["viewer", "deployer", "admin", "operator"];

function readRole(text: string): Role {
  const role = roles.find((known) => known === text);
  if (role === undefined) throw new Mistake(`expected one of ${roles.join(", ")}`);
  return role;
}

/** Tokens. */
export const token: Command = command({
  name: "token",
  summary: "List, create or remove tokens for the API.",
  about: [
    "A viewer sees, a deployer changes apps, an admin also removes them and makes tokens, an operator also keeps tenants. The socket of the daemon's own user needs no token.",
  ],
  arguments: [],
  options: {
    create: value({ value: "NAME", doc: "Make a token; it is printed once.", read: readText }),
    role: value({
      value: "ROLE",
      doc: "What the new token may do.",
      otherwise: "deployer",
      choices: roles,
      read: readRole,
    }),
    tenant: value({ value: "TENANT", doc: "Whose token it is.", otherwise: "yours", read: readText }),
    project: value({
      value: "PROJECT",
      doc: "It may reach the apps of this project alone.",
      otherwise: "all of the tenant's",
      read: readText,
    }),
    remove: value({ value: "ID", doc: "Make a token invalid.", read: readText }),
    json,
  },
  examples: [{ line: "spore token --create ci --role deployer", doc: "A token for deployments." }],
  handle: async ({ options }, context) => (await import("../cloud/tenancy.ts")).token(options, context),
});

/** Projects. */
export const project: Command = command({
  name: "project",
  summary: "List, create or remove projects: parts of a tenant's apps, which tokens may be limited to.",
  about: [
    "Every app is in one project: `default`, unless `spore deploy --project` says another when it is made.",
  ],
  arguments: [{ name: "PROJECT", doc: "Name of the project; it is made if there is none.", optional: true }],
  options: {
    remove: flag({ doc: "Remove it with its tokens; it must not have apps." }),
    yes: flag({ short: "y", doc: "Really." }),
    json,
  },
  examples: [
    { line: "spore project shop", doc: "Make a project." },
    { line: "spore token --create ci --project shop", doc: "A token for its apps alone." },
  ],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/tenancy.ts")).project(options, words[0], context),
});

/** Domains. */
export const domain: Command = command({
  name: "domain",
  summary: "List, prove or remove the domains that the apps of a tenant may have.",
  about: [
    "A tenant proves a domain with a TXT record: the first call says which. An operator gives domains without. Whoever has a domain has all names below it that are not another's; names under localhost and those of the daemon's own domain need no proof.",
  ],
  arguments: [{ name: "DOMAIN", doc: "The domain, such as example.com.", optional: true }],
  options: {
    tenant: value({
      value: "TENANT",
      doc: "Give it to this tenant; for operators.",
      otherwise: "yours",
      read: readText,
    }),
    remove: flag({ doc: "Take it away; no app must have it." }),
    yes: flag({ short: "y", doc: "Really." }),
    json,
  },
  examples: [{ line: "spore domain example.com", doc: "Say which record is wanted, or find it." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/tenancy.ts")).domain(options, words[0], context),
});

function readPorts(text: string): PortRange | null {
  if (text === "none") return null;
  const [from = "", to = from, more] = text.split("-");
  if (more !== undefined) throw new Mistake("expected ports such as 16379, 16000-16099 or none");
  const range = { from: readPort(from), to: readPort(to) };
  if (range.from > range.to) throw new Mistake("expected the lower port first");
  return range;
}

/** Tenants. */
export const tenant: Command = command({
  name: "tenant",
  summary: "List, create, change or remove tenants.",
  arguments: [{ name: "TENANT", doc: "Name of the tenant.", optional: true }],
  options: {
    create: flag({ doc: "Make it, if there is none; the same as without." }),
    quota: list({
      value: "NAME=N",
      doc: "Set a quota: apps, instances, memory (of all instances, as 4G), cpu (percent of one processor), storage (of images, snapshots and logs, as 10G), wakesPerMinute or requestsPerMinute; none for no limit.",
      read: readVariable,
    }),
    ports: value({
      value: "PORTS",
      doc: "Ports of this machine that its apps may listen on (`--tcp`), as 16379 or 16000-16099; none for none.",
      read: readPorts,
    }),
    remove: flag({ doc: "Remove it with its tokens; it must not have apps." }),
    yes: flag({ short: "y", doc: "Really." }),
    json,
  },
  examples: [{ line: "spore tenant acme --quota instances=10", doc: "Make a tenant with a quota." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/tenancy.ts")).tenant(options, words[0], context),
});
