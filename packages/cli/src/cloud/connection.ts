/** The way to the daemon: its socket, or a URL with a token. */

import { type IncomingMessage, type RequestOptions, request } from "node:http";
import { request as secureRequest } from "node:https";
import { Readable } from "node:stream";
import {
  type Calls,
  type Client,
  createClient,
  daemonHome,
  daemonSocket,
  type Input,
  type Result,
  type Transport,
  type TransportRequest,
} from "@spore/api";
import { type ErrorCode, registry, SporeError, sporeError } from "@spore/errors";
import type { Context } from "../command.ts";

/** Calls that throw what went wrong, as a SporeError. */
export interface Connection {
  call<K extends keyof Calls>(name: K, input?: Input<Calls[K]>): Promise<Calls[K]["result"]>;
  follow<K extends keyof Calls>(name: K, input?: Input<Calls[K]>): Promise<AsyncIterable<Calls[K]["result"]>>;
}

/** The connection that the environment asks for. Nothing is sent yet. */
export function connectDaemon(env: Context["env"]): Connection {
  const { client, address } = clientOf(env);
  return {
    call: async (name, input) => unwrap(await client.call(name, input), address),
    follow: async (name, input) => told(unwrap(await client.follow(name, input), address), address),
  };
}

/** All items of a list, page by page. */
export async function all<T>(
  page: (
    after: string | undefined,
  ) => Promise<{ readonly items: readonly T[]; readonly next: string | null }>,
): Promise<readonly T[]> {
  const found: T[] = [];
  let after: string | undefined;
  for (;;) {
    const { items, next } = await page(after);
    found.push(...items);
    if (next === null) return found;
    after = next;
  }
}

/** How long a daemon that is gone is waited for, and how often it is looked for, in milliseconds. */
const AWAY_MS = 60_000;
const LOOK_MS = 500;

/**
 * What comes, also from a daemon that is started anew: it goes on behind the last that came.
 * `say` is told once of each time that it is waited for.
 */
export async function* followOn<T extends { readonly seq: number }>(
  follow: (after: number | undefined) => Promise<AsyncIterable<T>>,
  say: (text: string) => void,
): AsyncGenerator<T> {
  let after: number | undefined;
  let stream = await follow(after);
  for (;;) {
    try {
      for await (const item of stream) {
        after = item.seq;
        yield item;
      }
    } catch (thrown) {
      if (!isGone(thrown)) throw thrown;
    }
    say("spore: the daemon has ended; it is waited for\n");
    const end = performance.now() + AWAY_MS;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      try {
        stream = await follow(after);
        break;
      } catch (thrown) {
        if (!isGone(thrown) || performance.now() > end) throw thrown;
      }
    }
  }
}

function isGone(thrown: unknown): boolean {
  return thrown instanceof SporeError && thrown.code === "SPORE_DAEMON_UNREACHABLE";
}

/** A stream whose end says what it is. */
async function* told<T>(events: AsyncIterable<T>, address: string): AsyncGenerator<T> {
  try {
    yield* events;
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw sporeError("SPORE_DAEMON_UNREACHABLE", { address, problem }, { cause });
  }
}

/** The client, and what to call the daemon in an error. */
export function clientOf(env: Context["env"]): { readonly client: Client; readonly address: string } {
  const url = env["SPORE_URL"];
  if (url) {
    if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
      throw sporeError("SPORE_USAGE", { problem: `SPORE_URL is not a URL: ${url}`, command: "help" });
    }
    return { client: createClient(over(url), env["SPORE_TOKEN"] ?? null), address: url };
  }
  const socketPath = daemonSocket(daemonHome(env));
  return { client: createClient(over(socketPath)), address: socketPath };
}

function unwrap<T>(result: Result<T>, address: string): T {
  if (result.ok) return result.value;
  if (result.kind === "connection") {
    throw sporeError("SPORE_DAEMON_UNREACHABLE", { address, problem: result.problem });
  }
  if (result.kind === "version") {
    throw sporeError("SPORE_DAEMON_VERSION", { address, problem: result.problem });
  }
  const { code, message, next } = result.error;
  if (!Object.hasOwn(registry, code)) {
    throw sporeError("SPORE_DAEMON_VERSION", { address, problem: `it says ${code}: ${message}` }, { next });
  }
  throw new SporeError(code as ErrorCode, message, { next });
}

/** Carries requests over a Unix socket (a path) or to a URL. */
function over(place: string): Transport {
  const local = place.startsWith("/");
  const secure = place.startsWith("https:");
  return (what) =>
    new Promise((resolve, reject) => {
      const options = optionsOf(what);
      const answered = (answer: IncomingMessage): void =>
        resolve({ status: answer.statusCode ?? 0, body: answer });
      const sent = local
        ? request({ ...options, socketPath: place, path: what.path }, answered)
        : (secure ? secureRequest : request)(new URL(what.path, place), options, answered);
      sent.on("error", reject);
      if (what.body === null || typeof what.body === "string") sent.end(what.body ?? "");
      else Readable.from(what.body, { objectMode: false }).pipe(sent);
    });
}

function optionsOf({ method, headers, body, signal }: TransportRequest): RequestOptions {
  const length = typeof body === "string" ? { "content-length": Buffer.byteLength(body) } : {};
  const chunked = body !== null && typeof body !== "string" ? { "transfer-encoding": "chunked" } : {};
  return {
    method,
    headers: { ...headers, ...length, ...chunked },
    agent: false,
    ...(signal !== undefined && { signal }),
  };
}
