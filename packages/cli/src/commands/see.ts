/** `spore ps`, `spore logs`, `spore events` and `spore inspect`. */

import { type Command, command, flag, value } from "../command.ts";
import { readText } from "../settings/values.ts";
import { appArgument, json, readNumber } from "./cloud-options.ts";

const after = value({ value: "SEQ", doc: "Begin after this number.", read: readNumber });

/** Lists apps and instances. */
export const ps: Command = command({
  name: "ps",
  summary: "List apps and their instances.",
  arguments: [{ ...appArgument, optional: true }],
  options: {
    all: flag({ short: "a", doc: "Instances that have stopped too." }),
    project: value({ value: "PROJECT", doc: "Apps of this project alone.", read: readText }),
    json,
  },
  examples: [{ line: "spore ps", doc: "What there is, and what is awake." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/see.ts")).ps(options, words[0], context),
});

/** Prints what instances wrote. */
export const logs: Command = command({
  name: "logs",
  summary: "Print what the instances of an app wrote.",
  about: [
    "Lines of all instances, in order, across sleep, restarts and releases: time, release, the end of the instance's id, number, text. Where lines are missing, a line says so.",
  ],
  arguments: [appArgument],
  options: {
    follow: flag({ short: "f", doc: "Go on with what they write from now on." }),
    last: value({ value: "N", doc: "Begin with the last N lines.", otherwise: "100", read: readNumber }),
    after,
    json,
  },
  examples: [{ line: "spore logs -f hello", doc: "Follow the log." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/see.ts")).logs(options, words[0] ?? "", context),
});

/** Prints what happened. */
export const events: Command = command({
  name: "events",
  summary: "Print what happened: rollouts, starts and stops with their reasons.",
  arguments: [{ ...appArgument, optional: true }],
  options: { follow: flag({ short: "f", doc: "Go on with what happens from now on." }), after, json },
  examples: [{ line: "spore events -f", doc: "Watch." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/see.ts")).events(options, words[0], context),
});

/** Prints the daemon's numbers. */
export const metrics: Command = command({
  name: "metrics",
  summary: "Print the numbers of the daemon: wakes by phase, requests, instances.",
  about: ["Prometheus gets the same at /metrics of the API."],
  arguments: [{ name: "NAME", doc: "Only numbers whose name begins like this.", optional: true }],
  options: { json },
  examples: [{ line: "spore metrics spore_wake", doc: "How long wakes take, and which part of them." }],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/see.ts")).metrics(options, words[0] ?? "", context),
});

/** Explains ends that nobody had asked for. */
export const crash: Command = command({
  name: "crash",
  summary: "List the crashes of an app, or show one: signal, stack, last system calls, last lines.",
  about: [
    "`spore crash APP` lists, `spore crash show NAME` shows the crash of an instance, or the last of an app or of all.",
  ],
  arguments: [
    { name: "NAME", doc: "Name of an app, or the id of an instance; or the word show." },
    { name: "SHOWN", doc: "After show: name of an app, or the id of an instance.", optional: true },
  ],
  options: { json },
  examples: [
    { line: "spore crash hello", doc: "Which instances crashed, and how." },
    { line: "spore crash show hello", doc: "All that is known of the last crash." },
  ],
  handle: async ({ options, words }, context) =>
    (await import("../cloud/see.ts")).crash(options, words, context),
});

/** Prints all that is known. */
export const inspect: Command = command({
  name: "inspect",
  summary: "Print all that is known of an app or an instance, as JSON.",
  arguments: [{ name: "NAME", doc: "Name of an app, or the id of an instance." }],
  options: { json },
  examples: [{ line: "spore inspect hello", doc: "Settings, live release, instances." }],
  handle: async ({ words }, context) => (await import("../cloud/see.ts")).inspect(words[0] ?? "", context),
});
