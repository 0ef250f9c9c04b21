/** `spore up` and `spore down`. */

import { type Command, command, flag, list, value } from "../command.ts";
import { readText } from "../settings/values.ts";
import { json, readAddress, readAnyPort, readHost, readNumber, readUrl } from "./cloud-options.ts";

/** Starts the daemon. */
export const up: Command = command({
  name: "up",
  summary: "Start the daemon: the cloud on this machine.",
  about: [
    "The daemon runs on its own when this command ends; `spore down` stops it. Apps are reached at http://NAME.localhost:8080. Its state is in one folder: $SPORE_HOME/cloud, else $XDG_STATE_HOME/spore or ~/.local/state/spore.",
  ],
  arguments: [],
  options: {
    port: value({
      short: "p",
      value: "PORT",
      doc: "Port of the gateway; 0 picks a free one.",
      otherwise: "8080",
      read: readAnyPort,
    }),
    listen: list({
      value: "ADDR",
      doc: "Address of the gateway.",
      otherwise: "127.0.0.1 and ::1",
      read: readText,
    }),
    "tls-port": value({
      value: "PORT",
      doc: "Port of the gateway for HTTPS and HTTP/2. Without --tls-cert, a development authority signs certificates; see `spore ca`.",
      otherwise: "8443 with --tls-cert, else none",
      read: readAnyPort,
    }),
    "tls-cert": value({
      value: "FILE",
      doc: "Certificate for HTTPS, PEM; those of single hosts may lie in tls/NAME.crt and NAME.key of the state.",
      read: readText,
    }),
    "tls-key": value({ value: "FILE", doc: "Its key, PEM.", read: readText }),
    domain: value({
      value: "NAME",
      doc: "Domain under which apps are reached.",
      otherwise: "localhost",
      read: readHost,
    }),
    api: value({
      value: "HOST:PORT",
      doc: "Let the API be reached there too, with tokens.",
      otherwise: "its Unix socket alone",
      read: readAddress,
    }),
    standby: value({
      value: "N",
      doc: "Machines that stand by, at most, for apps that were used within the last ten minutes; 0: none.",
      otherwise: "16, in an eighth of the memory",
      read: readNumber,
    }),
    otlp: value({
      value: "URL",
      doc: "Send spans of requests to this OpenTelemetry collector (OTLP over HTTP); headers are taken from OTEL_EXPORTER_OTLP_HEADERS.",
      read: readUrl,
    }),
    foreground: flag({ doc: "Become the daemon instead of starting one." }),
    "print-unit": flag({ doc: "Print a systemd unit that runs the daemon, and do nothing else." }),
    json,
  },
  examples: [
    { line: "spore up", doc: "Start the daemon." },
    {
      line: "spore up --print-unit > ~/.config/systemd/user/spore.service",
      doc: "Let systemd start it.",
    },
  ],
  handle: async ({ options }, context) => (await import("../cloud/up.ts")).up(options, context),
});

/** Stops the daemon. */
export const down: Command = command({
  name: "down",
  summary: "Stop the daemon and its instances.",
  arguments: [],
  options: {
    "keep-instances": flag({ doc: "Let instances run on; the next daemon finds them." }),
    json,
  },
  examples: [{ line: "spore down", doc: "Stop everything." }],
  handle: async ({ options }, context) => (await import("../cloud/up.ts")).down(options, context),
});
