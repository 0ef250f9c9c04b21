/** Commands that change apps: `releases`, `rollback`, `promote`, `env`, `secret`, `flag`, `stop`, `rm`. */

import { flag as bare, type Command, command, list, value } from "../command.ts";
import { readText, readVariable } from "../settings/values.ts";
import { appArgument, json } from "./cloud-options.ts";

/** Lists releases. */
export const releases: Command = command({
  name: "releases",
  summary: "List the releases of an app.",
  arguments: [appArgument],
  options: { json },
  examples: [{ line: "spore releases hello", doc: "The newest first, each with its preview address." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/change.ts")).releases(options, words[0] ?? "", context),
});

/** Goes back. */
export const rollback: Command = command({
  name: "rollback",
  summary: "Give the requests of an app to an earlier release.",
  arguments: [
    appArgument,
    { name: "RELEASE", doc: "Number of the release; if absent, the one before.", optional: true },
  ],
  options: { json },
  examples: [
    { line: "spore rollback hello", doc: "Go back to the release before." },
    { line: "spore rollback hello 3", doc: "Go back to release 3." },
  ],
  handle: async ({ options, words: [app = "", release] }, context) =>
    (await import("../cloud/change.ts")).rollback(options, app, release, context),
});

/** Goes on. */
export const promote: Command = command({
  name: "promote",
  summary: "Give all requests of an app to its canary.",
  arguments: [appArgument],
  options: { json },
  examples: [{ line: "spore promote hello", doc: "The canary becomes the live release." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/change.ts")).promote(options, words[0] ?? "", context),
});

/** Variables. */
export const env: Command = command({
  name: "env",
  summary: "Show or change the variables of an app; a change is a new release of the same image.",
  arguments: [appArgument],
  options: {
    set: list({ short: "s", value: "KEY=VALUE", doc: "Set a variable.", read: readVariable }),
    unset: list({ short: "u", value: "KEY", doc: "Take a variable away.", read: readText }),
    json,
  },
  examples: [{ line: "spore env hello --set GREETING=hi", doc: "Change a variable." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/change.ts")).env(options, words[0] ?? "", context),
});

/** Secrets. */
export const secret: Command = command({
  name: "secret",
  summary: "List or change the secrets of an app; a change is a new release of the same image.",
  about: [
    "A secret is a variable of the program that is encrypted on disk (age) and never shown: not in an image, a log or an answer of the API.",
  ],
  arguments: [appArgument],
  options: {
    set: value({
      short: "s",
      value: "NAME",
      doc: "Set a secret; its value is read from standard input.",
      read: readText,
    }),
    "allow-empty": bare({ doc: "Let the value be empty." }),
    unset: list({ short: "u", value: "NAME", doc: "Take a secret away.", read: readText }),
    json,
  },
  examples: [{ line: "spore secret hello --set API_KEY < key.txt", doc: "Set a secret." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/change.ts")).secret(options, words[0] ?? "", context),
});

/** Feature flags. */
export const flag: Command = command({
  name: "flag",
  summary: "List or set the feature flags of an app; they hold at once.",
  about: ["OpenFeature's remote evaluation protocol (OFREP) answers at /apps/APP of the API."],
  arguments: [appArgument, { name: "KEY", doc: "Key of the flag.", optional: true }],
  options: {
    on: bare({ doc: "Switch it on." }),
    off: bare({ doc: "Switch it off." }),
    variant: list({
      value: "NAME=VALUE",
      doc: "Add a variant; on=true and off=false are there.",
      read: readVariable,
    }),
    set: value({ value: "NAME", doc: "Give this variant.", otherwise: "on", read: readText }),
    remove: bare({ doc: "Remove it." }),
    json,
  },
  examples: [{ line: "spore flag hello new-checkout --off", doc: "Switch a flag off." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/change.ts")).flag(options, words[0] ?? "", words[1], context),
});

/** Stops an instance. */
export const stop: Command = command({
  name: "stop",
  summary: "Let an instance finish its requests and stop it.",
  arguments: [{ name: "INSTANCE", doc: "Id of the instance, from `spore ps`." }],
  options: { json },
  examples: [{ line: "spore stop m8x2k1q3z-0a1b2c3d4e", doc: "The next request starts another one." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/change.ts")).stop(options, words[0] ?? "", context),
});

/** Removes an app. */
export const rm: Command = command({
  name: "rm",
  summary: "Remove an app with its releases, secrets and logs.",
  arguments: [appArgument],
  options: { yes: bare({ short: "y", doc: "Really." }), json },
  examples: [{ line: "spore rm --yes hello", doc: "Remove an app." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/change.ts")).remove(options, words[0] ?? "", context),
});
