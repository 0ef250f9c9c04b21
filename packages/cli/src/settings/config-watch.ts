/**
 * Watching a configuration file while it is evaluated: the modules it is made
 * of and the variables it reads go into the launch record. One that could look
 * at anything else (files, the clock, the network) is called untraceable.
 */

import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import type { Watch } from "../launch-record.ts";

/** Modules of Node whose results depend on their arguments alone. */
const PURE: ReadonlySet<string> = new Set(["node:path", "node:path/posix", "node:url", "node:util"]);
/** Words that lead to something that changes by itself. */
const CHANGING =
  /\b(Date|Temporal|random|crypto|performance|hrtime|uptime|p?pid|memoryUsage|fetch|WebSocket|getBuiltinModule|binding|require|eval|Function)\b/;

/** Runs `load`; what it imports and which variables it reads reach the watch. */
export async function watched<T>(watch: Watch, load: () => Promise<T>): Promise<T> {
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      const found = next(specifier, context);
      if (found.url.startsWith("file:")) watch.path(fileURLToPath(found.url));
      else if (!PURE.has(found.url)) watch.untraceable();
      return found;
    },
    load: (url, context, next) => {
      if (url.startsWith("file:") && mayChange(url)) watch.untraceable();
      return next(url, context);
    },
  });
  const real = process.env;
  process.env = observed(real, watch);
  try {
    return await load();
  } finally {
    process.env = real;
    hooks.deregister();
  }
}

/** Whether a module may give another result without a change of its text. Packages count: they are many files. */
function mayChange(url: string): boolean {
  return url.includes("/node_modules/") || CHANGING.test(readFileSync(fileURLToPath(url), "utf8"));
}

function observed(env: NodeJS.ProcessEnv, watch: Watch): NodeJS.ProcessEnv {
  const note = (name: string | symbol): void => {
    if (typeof name === "string") watch.variable(name);
  };
  return new Proxy(env, {
    get: (target, name) => {
      note(name);
      return Reflect.get(target, name) as unknown;
    },
    has: (target, name) => {
      note(name);
      return Reflect.has(target, name);
    },
    getOwnPropertyDescriptor: (target, name) => {
      note(name);
      return Reflect.getOwnPropertyDescriptor(target, name);
    },
    ownKeys: (target) => {
      watch.untraceable();
      return Reflect.ownKeys(target);
    },
    set: (target, name, value) => {
      watch.untraceable();
      return Reflect.set(target, name, value);
    },
  });
}
