/** A client made from the routes. Calls give results; they throw for bugs alone. */

import type { ApiError } from "./model.ts";
import type { AnyRoute, Call } from "./route.ts";
import { type Calls, routes } from "./routes.ts";
import * as s from "./schemas.ts";

/** Carries one request; `fetch` is one, so is an HTTP client over a Unix socket. */
export type Transport = (request: TransportRequest) => Promise<TransportResponse>;

/** What a transport sends. */
export interface TransportRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | AsyncIterable<Uint8Array> | null;
  readonly signal?: AbortSignal | undefined;
}

/** What a transport gives back. */
export interface TransportResponse {
  readonly status: number;
  readonly body: AsyncIterable<Uint8Array>;
}

/** What came of a call. */
export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly kind: "api"; readonly status: number; readonly error: ApiError["error"] }
  | { readonly ok: false; readonly kind: "connection"; readonly problem: string }
  /** What answers is a daemon of another version, and what it says cannot be used. */
  | { readonly ok: false; readonly kind: "version"; readonly problem: string };

/** What a call is given. */
export interface Input<C extends Call> {
  readonly params?: C["params"];
  readonly query?: C["query"];
  readonly body?: C["body"] extends "bytes" ? AsyncIterable<Uint8Array> : C["body"];
  /** Calls with the same key are carried out once. */
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

/** The client: one method for each route, and `follow` for those that answer with events. */
export interface Client {
  call<K extends keyof Calls>(name: K, input?: Input<Calls[K]>): Promise<Result<Calls[K]["result"]>>;
  follow<K extends keyof Calls>(
    name: K,
    input?: Input<Calls[K]>,
  ): Promise<Result<AsyncIterable<Calls[K]["result"]>>>;
}

/** Makes a client; `token` goes with every request. */
export function createClient(transport: Transport, token: string | null = null): Client {
  const send = async (name: keyof Calls, input: Input<Call>, accept: string): Promise<Result<Body>> => {
    const route = routes[name] as unknown as AnyRoute;
    try {
      const response = await transport({
        method: route.method,
        path: pathOf(route.path, input),
        headers: headersOf(route, input, token, accept),
        body: bodyOf(route, input),
        signal: input.signal,
      });
      if (response.status < 400) return { ok: true, value: response.body };
      return await refusal(response);
    } catch (thrown) {
      return { ok: false, kind: "connection", problem: messageOf(thrown) };
    }
  };
  return {
    async call(name, input = {}) {
      const sent = await send(name, input as Input<Call>, "application/json");
      if (!sent.ok) return sent;
      return await read(sent.value, name);
    },
    async follow(name, input = {}) {
      const sent = await send(name, input as Input<Call>, "text/event-stream");
      return sent.ok ? { ok: true, value: events(sent.value) } : sent;
    },
  };
}

const HARMLESS: ReadonlySet<string> = new Set(["invalid_value", "unrecognized_keys"]);

type Body = AsyncIterable<Uint8Array>;

function headersOf(
  route: AnyRoute,
  input: Input<Call>,
  token: string | null,
  accept: string,
): Record<string, string> {
  const bytes = route.body === "bytes";
  return {
    accept,
    ...(route.body !== null && { "content-type": bytes ? "application/octet-stream" : "application/json" }),
    ...(token !== null && { authorization: `Bearer ${token}` }),
    ...(input.idempotencyKey !== undefined && { "idempotency-key": input.idempotencyKey }),
  };
}

function bodyOf(route: AnyRoute, input: Input<Call>): string | Body | null {
  if (route.body === null) return null;
  const body: unknown = input.body ?? {};
  return route.body === "bytes" ? (body as Body) : JSON.stringify(body);
}

/** The path with its parameters and the query. */
function pathOf(path: string, input: Input<Call>): string {
  const params = (input.params ?? {}) as Readonly<Record<string, string | number>>;
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(params[name])));
  const query = Object.entries(input.query ?? {}).filter(([, value]) => value !== undefined);
  if (query.length === 0) return filled;
  return `${filled}?${new URLSearchParams(query.map(([name, value]): [string, string] => [name, String(value)]))}`;
}

async function read<K extends keyof Calls>(body: Body, name: K): Promise<Result<Calls[K]["result"]>> {
  try {
    const value: unknown = JSON.parse(await textOf(body));
    const checked = routes[name].result.safeParse(value);
    if (checked.success) return { ok: true, value: checked.data as Calls[K]["result"] };
    // A newer daemon may say more and know other states than this client: that is no harm. What is missing is.
    const wrong = checked.error.issues.find(({ code }) => !HARMLESS.has(code));
    if (wrong === undefined) return { ok: true, value: value as Calls[K]["result"] };
    return { ok: false, kind: "version", problem: `${wrong.path.join(".")} of its answer: ${wrong.message}` };
  } catch (thrown) {
    return { ok: false, kind: "connection", problem: messageOf(thrown) };
  }
}

async function refusal(response: TransportResponse): Promise<Result<never>> {
  const { status } = response;
  const text = await textOf(response.body);
  try {
    const { error } = s.apiError.parse(JSON.parse(text));
    return { ok: false, kind: "api", status, error };
  } catch {
    return { ok: false, kind: "connection", problem: `status ${status}: ${text.slice(0, 200)}` };
  }
}

async function textOf(body: Body): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body) text += decoder.decode(chunk, { stream: true });
  return text + decoder.decode();
}

/** The `data` of server-sent events, each a JSON text. */
async function* events<T>(body: Body): AsyncGenerator<T> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    const blocks = rest.split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const data = block
        .split("\n")
        .filter((line) => line.startsWith("data: "))
        .map((line) => line.slice(6))
        .join("\n");
      if (data !== "") yield JSON.parse(data) as T;
    }
  }
}

function messageOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const code = "code" in thrown && typeof thrown.code === "string" ? thrown.code : "";
  return thrown.message || code || thrown.name;
}
