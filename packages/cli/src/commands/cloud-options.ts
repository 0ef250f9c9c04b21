/** Arguments and options that commands of the cloud have in common. */

import { type Argument, type Flag, flag, Mistake } from "../command.ts";
import { readCount, readPort } from "../settings/values.ts";

/** The name of an app. */
export const appArgument: Argument = { name: "APP", doc: "Name of the app." };

/** `--json`. */
export const json: Flag = flag({ doc: "Print the answer of the API as JSON." });

/** "30s", "500ms", "5m", in milliseconds; a bare number is seconds. */
export function readDuration(text: string): number {
  const match = /^(\d{1,9})(ms|s|m|h)?$/.exec(text);
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? "s"] ?? 1000;
  if (match === null) throw new Mistake("expected a time such as 30s, 500ms or 5m");
  return Number(match[1]) * unit;
}

/** A number from 0 upwards. */
export function readNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new Mistake("expected a number from 0 upwards");
  return text === "0" ? 0 : readCount(text);
}

/** A port; 0 stands for a free one. */
export function readAnyPort(text: string): number {
  return text === "0" ? 0 : readPort(text);
}

/** A percentage. */
export function readPercent(text: string): number {
  const percent = Number(text.replace(/%$/, ""));
  if (!/^\d{1,3}(\.\d+)?%?$/.test(text) || percent > 100)
    throw new Mistake("expected a percentage from 0 to 100");
  return percent;
}

/** What makes an instance ready. */
export function readReady(text: string): "listen" | "signal" {
  if (text !== "listen" && text !== "signal") throw new Mistake("expected listen or signal");
  return text;
}

/** What becomes of connections. */
export function readConnections(text: string): "keep" | "close" {
  if (text !== "keep" && text !== "close") throw new Mistake("expected keep or close");
  return text;
}

/** A host name. */
export function readHost(text: string): string {
  const host = text.toLowerCase();
  if (host.length > 200 || !/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(host))
    throw new Mistake("expected a host name such as example.com");
  return host;
}

/** An address of HTTP. */
export function readUrl(text: string): string {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text))
    throw new Mistake("expected a URL such as http://127.0.0.1:4318");
  return text;
}

/** "HOST:PORT". */
export function readAddress(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new Mistake("expected HOST:PORT, for example 127.0.0.1:7070");
  return { host: match[1] ?? match[2] ?? "", port };
}
