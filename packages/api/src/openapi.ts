/** The OpenAPI document, made from the routes. */

import * as z from "zod";
import type { AnyRoute } from "./route.ts";
import { routes } from "./routes.ts";
import * as s from "./schemas.ts";

type Json = Readonly<Record<string, unknown>>;

/** OpenAPI 3.1. */
export function openApi(version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const [name, route] of Object.entries(routes)) {
    const described = operation(name, route as unknown as AnyRoute);
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: described };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Spore",
      version,
      description: "The API of the Spore daemon. Generated from packages/api; a test keeps the two together.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      responses: {
        Error: { description: "What went wrong.", content: json(s.apiError) },
        EvaluationError: { description: "What went wrong, by OFREP.", content: json(s.evaluationError) },
      },
    },
  };
}

function operation(name: string, route: AnyRoute): Json {
  const events = route.answer === "events";
  const content = events
    ? { "text/event-stream": { schema: schema(route.result, "output") } }
    : json(route.result);
  return {
    operationId: name,
    summary: route.summary,
    ...(route.role !== null && { description: `Role: ${route.role}.` }),
    parameters: [
      ...parameters(route.params, "path"),
      ...parameters(route.query, "query"),
      ...(route.idempotent ? [idempotencyKey] : []),
    ],
    ...(route.body !== null && { requestBody: bodyOf(route.body) }),
    responses: {
      [route.status]: { description: events ? "A stream; `data` of each event is this." : "Done.", content },
      default: { $ref: `#/components/responses/${route.ofrep ? "EvaluationError" : "Error"}` },
    },
  };
}

const idempotencyKey: Json = {
  name: "idempotency-key",
  in: "header",
  required: false,
  schema: { type: "string", maxLength: 200 },
  description: "Calls with the same key are carried out once; the later get the first answer.",
};

/** A body in which everything may be absent may itself be. */
function bodyOf(body: Exclude<AnyRoute["body"], null>): Json {
  const required = body === "bytes" || !body.safeParse({}).success;
  return { required, content: bodyContent(body) };
}

function bodyContent(body: Exclude<AnyRoute["body"], null>): Json {
  if (body === "bytes")
    return { "application/octet-stream": { schema: { type: "string", format: "binary" } } };
  return { "application/json": { schema: schema(body, "input") } };
}

function parameters(type: z.ZodType, place: "path" | "query"): Json[] {
  const { properties = {}, required = [] } = schema(type, "input") as {
    readonly properties?: Readonly<Record<string, Json>>;
    readonly required?: readonly string[];
  };
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === "path" || required.includes(name),
    schema: Object.keys(property).length === 0 ? { type: "integer" } : property,
  }));
}

function json(type: z.ZodType): Json {
  return { "application/json": { schema: schema(type, "output") } };
}

function schema(type: z.ZodType, io: "input" | "output"): Json {
  const made: Record<string, unknown> = { ...z.toJSONSchema(type, { io, unrepresentable: "any" }) };
  delete made["$schema"];
  return made;
}
