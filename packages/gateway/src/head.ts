/**
 * Heads of HTTP/1.1 messages, read strictly: what two readers could understand
 * in two ways is refused (RFC 9112), so that no request can hide in another.
 */

import { Refusal } from "./target.ts";

/** A header: name as it was written, value without the space around it. */
export type Header = readonly [name: string, value: string];

/** How long a body is. */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly length: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "close" };

/** The head of a request. */
export interface RequestHead {
  readonly method: string;
  /** Origin form: path and query; `*` for OPTIONS. */
  readonly path: string;
  /** Host in lower case, without port. */
  readonly host: string;
  /** As it was given, for the app. */
  readonly authority: string;
  /** All but host and what belongs to the connection. */
  readonly headers: readonly Header[];
  readonly framing: Framing;
  readonly minor: 0 | 1;
  readonly keepAlive: boolean;
  /** The protocol to change to, or null. */
  readonly upgrade: string | null;
}

/** The head of a response. */
export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  /** All but what belongs to the connection. */
  readonly headers: readonly Header[];
  readonly framing: Framing;
  readonly keepAlive: boolean;
  readonly upgrade: string | null;
  /** Seconds that the app keeps an idle connection, if it says so. */
  readonly keepAliveTimeout: number | null;
}

/**
 * Headers of a message may take so many bytes. Half of what the HTTP/2 library
 * takes before it ends the connection, so that a client is told.
 */
export const HEAD_LIMIT: number = 32 << 10;
/** And so many lines. */
export const HEADERS_LIMIT: number = 200;

const requestLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) ([\x21-\x7e]+) HTTP\/1\.([01])$/;
const statusLine = /^HTTP\/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?$/;
const headerLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/;
const hostPattern = /^(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?\.?)(?::([0-9]{1,5}))?$/;
const digits = /^[0-9]{1,15}$/;

/** What belongs to one connection and goes no further. */
const connectionOnly: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);
/** Lengths of those names, and of content-length: others need no closer look. */
const special: readonly boolean[] = Array.from({ length: 20 }, (_, length) =>
  [...connectionOnly, "content-length"].some((name) => name.length === length),
);
/** A Connection header may not take these away. */
const kept: ReadonlySet<string> = new Set([
  "authorization",
  "content-length",
  "content-type",
  "cookie",
  "forwarded",
  "host",
  "traceparent",
  "tracestate",
]);

/** What the connection headers of a message say. */
interface Hops {
  readonly headers: Header[];
  readonly connection: ReadonlySet<string>;
  readonly upgrade: string | null;
  readonly transfer: string | null;
  readonly length: string | null;
  readonly keepAlive: string | null;
}

/** Reads the head of a request, without the empty line at its end. Throws a `Refusal`. */
export function parseRequest(text: string): RequestHead {
  const lines = text.split("\r\n");
  const line = requestLine.exec(lines[0] ?? "");
  if (line === null) throw bad("the request line cannot be read");
  const [, method = "", target = "", version] = line;
  const minor = version === "0" ? 0 : 1;
  let host: string | null = null;
  const all = readHeaders(lines, bad);
  const hops = split(all, bad);
  const headers = hops.headers.filter(([name, value]) => {
    if (!isNamed(name, "host")) return true;
    if (host !== null) throw bad("more than one host");
    host = value;
    return false;
  });
  const place = placeOf(method, target, host, minor);
  const upgrade = upgradeOf(hops, minor);
  return {
    method,
    ...place,
    headers,
    framing: requestFraming(hops, minor),
    minor,
    keepAlive: minor === 1 ? !hops.connection.has("close") : hops.connection.has("keep-alive"),
    upgrade,
  };
}

/** Reads the head of a response to a request of `method`. Throws a `Refusal`. */
export function parseResponse(text: string, method: string): ResponseHead {
  const lines = text.split("\r\n");
  const line = statusLine.exec(lines[0] ?? "");
  if (line === null) throw broken("the status line of the app cannot be read");
  const status = Number(line[2]);
  const minor = line[1] === "0" ? 0 : 1;
  const hops = split(readHeaders(lines, broken), broken);
  const framing = responseFraming(hops, status, method);
  const timeout =
    hops.keepAlive === null ? undefined : /(?:^|[,;\s])timeout=(\d{1,6})/.exec(hops.keepAlive)?.[1];
  return {
    status,
    reason: line[3] ?? "",
    headers: hops.headers,
    framing,
    keepAlive:
      framing.kind !== "close" &&
      (minor === 1 ? !hops.connection.has("close") : hops.connection.has("keep-alive")),
    upgrade: status === 101 ? hops.upgrade : null,
    keepAliveTimeout: timeout === undefined ? null : Number(timeout),
  };
}

/** Reads header lines (also those of trailers); the first line is skipped. */
export function readHeaders(lines: readonly string[], refuse: (what: string) => Refusal): Header[] {
  if (lines.length - 1 > HEADERS_LIMIT) throw refuse(`more than ${HEADERS_LIMIT} headers`);
  const headers: Header[] = [];
  for (let index = 1; index < lines.length; index += 1) {
    const match = headerLine.exec(lines[index] ?? "");
    if (match === null) throw refuse("a header cannot be read");
    headers.push([match[1] ?? "", (match[2] ?? "").trimEnd()]);
  }
  return headers;
}

function split(all: readonly Header[], refuse: (what: string) => Refusal): Hops {
  let connection: Set<string> | null = null;
  let upgrade: string | null = null;
  let transfer: string | null = null;
  let length: string | null = null;
  let keepAlive: string | null = null;
  const headers: Header[] = [];
  for (const header of all) {
    if (special[header[0].length] !== true) {
      headers.push(header);
      continue;
    }
    const name = header[0].toLowerCase();
    if (name === "content-length") {
      if (length !== null) throw refuse("more than one content-length");
      length = header[1];
      headers.push(header);
    } else if (!connectionOnly.has(name)) {
      headers.push(header);
    } else if (name === "connection") {
      connection ??= new Set();
      for (const token of header[1].split(",")) connection.add(token.trim().toLowerCase());
    } else if (name === "upgrade") {
      upgrade = upgrade === null ? header[1] : `${upgrade}, ${header[1]}`;
    } else if (name === "transfer-encoding") {
      if (transfer !== null) throw refuse("more than one transfer-encoding");
      transfer = header[1].toLowerCase();
    } else if (name === "keep-alive") {
      keepAlive = header[1];
    } else if (name === "te" && /(^|[\s,])trailers($|[\s,;])/i.test(header[1])) {
      headers.push(["te", "trailers"]);
    }
  }
  if (connection === null) {
    return { headers, connection: nothing, upgrade, transfer, length, keepAlive };
  }
  const named = connection;
  const left = headers.filter(([name]) => {
    const lower = name.toLowerCase();
    return !named.has(lower) || kept.has(lower) || lower === "te";
  });
  return { headers: left, connection, upgrade, transfer, length, keepAlive };
}

const nothing: ReadonlySet<string> = new Set();

function requestFraming({ transfer, length }: Hops, minor: number): Framing {
  if (transfer !== null) {
    if (length !== null) throw bad("both content-length and transfer-encoding");
    if (minor === 0) throw bad("transfer-encoding in HTTP/1.0");
    if (transfer !== "chunked") throw new Refusal(501, "SPORE_REQUEST_INVALID", "unknown transfer-encoding");
    return { kind: "chunked" };
  }
  if (length === null) return noBody;
  if (!digits.test(length)) throw bad("content-length is not a number");
  return { kind: "length", length: Number(length) };
}

const noBody: Framing = { kind: "none" };

function responseFraming({ transfer, length }: Hops, status: number, method: string): Framing {
  if (transfer !== null && length !== null) throw broken("both content-length and transfer-encoding");
  if (length !== null && !digits.test(length)) throw broken("content-length is not a number");
  if (status < 200 || status === 204 || status === 304 || method === "HEAD") return noBody;
  if (transfer !== null) {
    if (transfer !== "chunked") throw broken("unknown transfer-encoding");
    return { kind: "chunked" };
  }
  return length === null ? { kind: "close" } : { kind: "length", length: Number(length) };
}

/** Where a request goes: the host decides, in whatever form the target is given. */
function placeOf(
  method: string,
  target: string,
  host: string | null,
  minor: number,
): Pick<RequestHead, "path" | "host" | "authority"> {
  if (host === null && minor === 1) throw bad("no host");
  let path = target;
  let authority = host ?? "";
  if (!target.startsWith("/")) {
    const absolute = /^https?:\/\/([^/?#]*)(\/[^#]*|\?[^#]*)?$/i.exec(target);
    if (absolute !== null) {
      // RFC 9112, 3.2.2: the target's authority replaces that of the header.
      authority = absolute[1] ?? "";
      const rest = absolute[2] ?? "/";
      path = rest.startsWith("/") ? rest : `/${rest}`;
    } else if (!(target === "*" && method === "OPTIONS")) {
      throw method === "CONNECT"
        ? new Refusal(405, "SPORE_REQUEST_INVALID", "CONNECT is not served here")
        : bad("the target is not a path");
    }
  }
  if (path.includes("#")) throw bad("the target holds a fragment");
  return { path, authority, host: hostOf(authority) };
}

/** The host of an authority, in lower case, without port and final dot. Throws a `Refusal`. */
export function hostOf(authority: string): string {
  const match = hostPattern.exec(authority.toLowerCase());
  if (match === null) {
    if (authority === "") return "";
    throw bad("the host cannot be read");
  }
  const host = match[1] ?? "";
  return host.endsWith(".") ? host.slice(0, -1) : host;
}

function upgradeOf({ connection, upgrade, transfer, length }: Hops, minor: number): string | null {
  if (upgrade === null || !connection.has("upgrade") || minor === 0) return null;
  // Changing to HTTP/2 behind the gateway's back would hide requests from it.
  if (/(^|[\s,])h2c?($|[\s,])/i.test(upgrade)) return null;
  if (transfer !== null || (length !== null && length !== "0")) throw bad("an upgrade with a body");
  return upgrade;
}

function isNamed(name: string, lower: string): boolean {
  return name.length === lower.length && name.toLowerCase() === lower;
}

/** The head of the request is too long. */
export function tooLong(): Refusal {
  return new Refusal(431, "SPORE_REQUEST_INVALID", "the headers are too long");
}

/** The request is not one. */
export function bad(what: string): Refusal {
  return new Refusal(400, "SPORE_REQUEST_INVALID", what);
}

/** The app's answer is not one. */
export function broken(what: string): Refusal {
  return new Refusal(502, "SPORE_APP_ANSWER", what);
}
