/** The API over HTTP: checks who asks and what, calls the handler, says what went wrong. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import { type AnyRoute, type Calls, openApi, permits, routes } from "@spore/api";
import { asSporeError, type SporeError, sporeError } from "@spore/errors";
import { Refusal } from "@spore/gateway";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import type { Identity, Scope } from "../cloud/tenants.ts";
import type { Store } from "../store/types.ts";
import type { Commit, Handlers, Stream, Streams } from "./call.ts";
import { once } from "./idempotency.ts";
import { isOfrep, keyOf, ofrepFailure, tagOf } from "./ofrep.ts";
import { statusOf } from "./status.ts";

/** Bytes of a JSON body. */
const BODY_LIMIT = 4 << 20;
/** A client that leaves so much unread is cut off; it can ask again from where it was. */
const STREAM_LIMIT = 4 << 20;
/** Nothing is said for so long at most, so that both sides see a dead connection. */
const BEAT_MS = 15_000;

/** What a server is made of. */
export interface ServerParts {
  readonly store: Store;
  readonly handlers: Handlers;
  readonly streams: Streams;
  /** Who a token speaks for. */
  readonly verify: (token: string) => Promise<Identity | null>;
  /** Who needs no token: the daemon's user on its own socket. Null: nobody. */
  readonly trusted: Identity | null;
  /** Tells texts apart, and tells nothing of them. */
  readonly seal: (text: string) => string;
  readonly version: string;
  /** Prometheus' text; of a tenant or project alone, if one is given. */
  readonly metrics: (sees: Scope | null) => Promise<string>;
  /** Something that should not have happened. */
  readonly wrong: (error: SporeError) => void;
}

/** Makes the server; the caller lets it listen. */
export function apiServer(parts: ServerParts): FastifyInstance {
  const app = fastify({
    bodyLimit: BODY_LIMIT,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 16_384 },
    logger: false,
  });
  app.removeAllContentTypeParsers();
  // Empty bodies are allowed where everything in them is optional.
  app.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => {
    try {
      done(null, body === "" ? {} : JSON.parse(String(body)));
    } catch {
      done(sporeError("SPORE_API_INVALID", { problem: "the body is not JSON" }));
    }
  });
  // Uploads are streamed by their handlers.
  app.addContentTypeParser("application/octet-stream", (_request, _payload, done) => done(null));
  app.setErrorHandler((thrown, _request, reply) => refuse(parts, reply, thrown));
  app.setNotFoundHandler((request, reply) => {
    refuse(
      parts,
      reply,
      sporeError("SPORE_NOT_FOUND", { what: `${request.method} ${request.url.slice(0, 200)}` }),
    );
  });
  for (const [name, route] of Object.entries(routes)) {
    app.route({
      method: route.method,
      url: pathOf(route.path),
      handler: (request, reply) => answer(parts, name as keyof Calls, request, reply),
    });
  }
  refuseOtherMethods(app, parts);
  const document = openApi(parts.version);
  app.get("/v1/openapi.json", (_request, reply) => reply.send(document));
  app.get("/metrics", async (request, reply) => {
    const who = await identify(parts, request, "viewer");
    return reply.type("text/plain; version=0.0.4").send(await parts.metrics(seenBy(who)));
  });
  return app;
}

/** What a path does not take is said before anything of the request is looked at. */
function refuseOtherMethods(app: FastifyInstance, parts: ServerParts): void {
  const taken = new Map<string, Set<string>>();
  for (const { path, method } of Object.values(routes)) {
    const methods = taken.get(path) ?? new Set();
    taken.set(path, methods.add(method));
    if (method === "GET") methods.add("HEAD");
  }
  for (const [path, methods] of taken) {
    const allow = [...methods].join(", ");
    app.route({
      method: app.supportedMethods.filter((method) => !methods.has(method)),
      url: pathOf(path),
      onRequest: (_request, reply) => {
        reply.header("allow", allow);
        refuse(parts, reply, sporeError("SPORE_API_INVALID", { problem: `${path} takes ${allow}` }), 405);
      },
      handler: () => {},
    });
  }
}

/** A path as the framework writes it. */
function pathOf(path: string): string {
  return path.replace(/\{(\w+)\}/g, ":$1");
}

async function answer(
  parts: ServerParts,
  name: keyof Calls,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const route = routes[name] as unknown as AnyRoute;
  const who = await identify(parts, request, route.role);
  const call = {
    params: check(route.params, request.params, "path"),
    query: check(route.query, request.query, "query"),
    body: bodyOf(route, request),
    who,
    sees: seenBy(who),
  };
  if (route.answer === "events") {
    const begin = parts.streams[name as keyof Streams] as StreamHandler;
    stream(reply, (events) => begin(call, events));
    return;
  }
  const work = async (commit: Commit): Promise<unknown> =>
    await (parts.handlers[name as keyof Handlers] as Handler)({ ...call, commit });
  const key = request.headers["idempotency-key"];
  const value =
    route.idempotent && typeof key === "string"
      ? await once(
          parts.store,
          { scope: who, key, question: parts.seal(JSON.stringify([name, call.params, call.body])) },
          work,
        )
      : await work((effect) => parts.store.transaction(effect));
  if (name === "evaluateFlags") {
    // OFREP: whoever has it already hears so.
    const tag = tagOf(value);
    reply.header("etag", tag);
    if (request.headers["if-none-match"] === tag) {
      await reply.code(304).send();
      return;
    }
  }
  await reply.code(route.status).send(value);
}

/** Whose things may be seen; null: those of all. */
function seenBy({ role, tenant, project }: Identity): Scope | null {
  return role === "operator" ? null : { tenant, project };
}

type Handler = (call: unknown) => unknown;
type StreamHandler = (call: unknown, stream: Stream<unknown>) => void;

async function identify(
  parts: ServerParts,
  request: FastifyRequest,
  least: AnyRoute["role"],
): Promise<Identity> {
  const header = request.headers.authorization;
  const token = /^Bearer ([\x21-\x7e]{1,200})$/i.exec(header ?? "")?.[1];
  const who = token === undefined && header === undefined ? parts.trusted : await parts.verify(token ?? "");
  if (who === null) throw sporeError("SPORE_UNAUTHENTICATED", {});
  if (!permits(who.role, least)) {
    throw sporeError("SPORE_FORBIDDEN", {
      problem: `this needs the role ${least}, the token has ${who.role}`,
    });
  }
  return who;
}

function bodyOf(route: AnyRoute, request: FastifyRequest): unknown {
  if (route.body === null) return null;
  if (route.body === "bytes") {
    if (request.headers["content-type"] !== "application/octet-stream") {
      throw sporeError("SPORE_API_INVALID", { problem: "the body must be application/octet-stream" });
    }
    return request.raw satisfies Readable;
  }
  return check(route.body, request.body === undefined ? {} : request.body, "body");
}

function check(type: AnyRoute["params"], value: unknown, place: string): object {
  const result = type.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = [place, ...(issue?.path ?? [])].join(".");
  throw sporeError("SPORE_API_INVALID", { problem: `${path}: ${issue?.message ?? "not as expected"}` });
}

function refuse({ wrong }: ServerParts, reply: FastifyReply, thrown: unknown, said?: number): void {
  const error = asApiError(thrown);
  const status = said ?? (thrown instanceof Refusal ? thrown.status : statusOf(error.code));
  if (status >= 500) wrong(error);
  const { code, message, next } = error;
  if (thrown instanceof Refusal && thrown.retryAfter !== null) reply.header("retry-after", thrown.retryAfter);
  if (status === 401) reply.header("www-authenticate", "Bearer");
  const { url } = reply.request;
  if (isOfrep(url)) {
    void reply.code(status).send(ofrepFailure(error, keyOf(url)));
    return;
  }
  // What is left of an upload that nobody wants is not read.
  if (!reply.request.raw.complete) reply.header("connection", "close");
  void reply.code(status).send({ error: { code, message, next } });
}

/** Errors of the HTTP server itself are the caller's. */
function asApiError(thrown: unknown): SporeError {
  const status = (thrown as { readonly statusCode?: unknown } | null)?.statusCode;
  if (typeof status === "number" && status >= 400 && status < 500) {
    return sporeError("SPORE_API_INVALID", { problem: (thrown as Error).message });
  }
  return asSporeError(thrown);
}

/** Answers with server-sent events until the client goes away. What `begin` refuses is an ordinary answer. */
function stream(reply: FastifyReply, begin: (stream: Stream<unknown>) => void): void {
  const { raw }: { readonly raw: ServerResponse<IncomingMessage> } = reply;
  const ends: (() => void)[] = [];
  const start = (): void => {
    if (raw.headersSent) return;
    reply.hijack();
    raw.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    raw.flushHeaders();
  };
  begin({
    send: (id, data) => {
      if (raw.destroyed) return false;
      start();
      raw.write(`id: ${id}\ndata: ${JSON.stringify(data)}\n\n`);
      if (raw.writableLength > STREAM_LIMIT) raw.destroy();
      return !raw.destroyed;
    },
    onClose: (then) => void ends.push(then),
  });
  start();
  const beat = setInterval(() => raw.write(": still here\n\n"), BEAT_MS);
  const close = (): void => {
    clearInterval(beat);
    for (const end of ends.splice(0)) end();
  };
  if (raw.destroyed) close();
  else raw.on("close", close);
}
