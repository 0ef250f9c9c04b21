/** `spore deploy`. */

import { type Command, command, flag, list, value } from "../command.ts";
import { imageOptions } from "../settings/options.ts";
import { readCount, readGuestPath, readMemory, readPort, readText } from "../settings/values.ts";
import { json, readConnections, readDuration, readNumber, readPercent, readReady } from "./cloud-options.ts";
import { about, target } from "./target.ts";

/** Builds and rolls out. */
export const deploy: Command = command({
  name: "deploy",
  summary: "Build a project, program or image and roll it out on the daemon; prints its URL.",
  about: [
    ...about,
    "The app gets PORT in its environment and must listen there. The new release gets requests once it listens and passes its health check; until then, and if it fails, the release before goes on.",
  ],
  arguments: [{ ...target, doc: "What to deploy, see above.", optional: true }],
  rest: { name: "ARG", doc: "Arguments of the program." },
  options: {
    name: value({
      short: "n",
      value: "NAME",
      doc: "Name of the app.",
      otherwise: "that of the folder or file",
      read: readText,
    }),
    project: value({
      value: "PROJECT",
      doc: "Project of a new app.",
      otherwise: "default, or that of the token",
      read: readText,
    }),
    port: value({ value: "PORT", doc: "Port that the app listens on.", otherwise: "8080", read: readPort }),
    health: value({
      value: "PATH",
      doc: "Path that must answer with a status below 500 before the release gets requests.",
      otherwise: "listening is enough",
      read: readGuestPath,
    }),
    ready: value({
      value: "listen|signal",
      doc: "What makes an instance ready: that it listens, or that it calls ready() of @spore/sdk besides.",
      otherwise: "listen",
      read: readReady,
    }),
    canary: value({
      value: "PERCENT",
      doc: "Give the release this part of the requests; `spore promote` gives it the rest.",
      read: readPercent,
    }),
    min: value({ value: "N", doc: "Instances that are kept awake.", otherwise: "0", read: readNumber }),
    max: value({ value: "N", doc: "Instances at most.", otherwise: "4", read: readCount }),
    concurrency: value({
      value: "N",
      doc: "Requests that one instance answers at a time; more wait for another one.",
      otherwise: "200",
      read: readCount,
    }),
    target: value({
      value: "N",
      doc: "Requests that each instance is to have on average; above, another is started ahead.",
      otherwise: "0.7 of --concurrency",
      read: readCount,
    }),
    burst: value({
      value: "N",
      doc: "Requests that the instances awake are to have room for beyond what they have.",
      otherwise: "0",
      read: readNumber,
    }),
    window: value({
      value: "TIME",
      doc: "Time over which that average is taken.",
      otherwise: "1m",
      read: readDuration,
    }),
    "panic-window": value({
      value: "TIME",
      doc: "The same for a sudden load: twice as many instances as there are start at once, and stay for a --window.",
      otherwise: "6s",
      read: readDuration,
    }),
    idle: value({
      value: "TIME",
      doc: "Time without a request after which an instance sleeps.",
      otherwise: "30s",
      read: readDuration,
    }),
    timeout: value({
      value: "TIME",
      doc: "Time that the app may take to begin an answer; then the client gets 504.",
      otherwise: "1m",
      read: readDuration,
    }),
    "start-timeout": value({
      value: "TIME",
      doc: "Time that an instance may take to listen.",
      otherwise: "30s",
      read: readDuration,
    }),
    "drain-timeout": value({
      value: "TIME",
      doc: "Time that requests may go on when an instance is to stop.",
      otherwise: "30s",
      read: readDuration,
    }),
    "body-limit": value({
      value: "SIZE",
      doc: "Refuse requests whose body is larger, with 413; none: take any.",
      otherwise: "none",
      read: (text) => (text === "none" ? null : readMemory(text)),
    }),
    domain: list({
      value: "NAME",
      doc: "Another host name of the app; *.NAME for all below, NAME/PATH for what is below PATH alone.",
      read: readText,
    }),
    tcp: value({
      value: "PORT",
      doc: "Let PORT of this machine lead to the app as it is, for what does not speak HTTP.",
      read: readPort,
    }),
    "connection-idle": value({
      value: "TIME",
      doc: "Time without traffic after which an open WebSocket or TCP connection no longer keeps the app awake; never: it always does.",
      otherwise: "1m",
      read: (text) => (text === "never" ? null : readDuration(text)),
    }),
    connections: value({
      value: "keep|close",
      doc: "What becomes of open WebSocket and TCP connections when the app sleeps: keep lets them open, and the app goes on with them and with what it has in memory.",
      otherwise: "close",
      read: readConnections,
    }),
    allow: list({
      value: "DESTINATION",
      doc: "Let the app connect there and nowhere else: a CIDR range or a name such as *.example.com, with :PORT if only that one.",
      read: readText,
    }),
    fresh: flag({
      doc: "Boot the release even if nothing has changed; without it, it goes on from the snapshot of the live one.",
    }),
    "no-snapshot": flag({ doc: "Take no snapshot: the app boots whenever it wakes." }),
    json,
    ...imageOptions,
  },
  examples: [
    { line: "spore deploy examples/hello", doc: "Deploy a project at http://hello.localhost:8080." },
    {
      line: "spore deploy --health /healthz --canary 10 .",
      doc: "Try a release with a tenth of the requests.",
    },
    { line: "spore deploy --port 6379 /usr/bin/redis-server", doc: "Deploy a program." },
  ],
  handle: async (invocation, context) => (await import("../cloud/deploy.ts")).deploy(invocation, context),
});
