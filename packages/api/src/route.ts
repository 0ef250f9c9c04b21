/** How a route is described: one description checks requests, types the client and writes the OpenAPI document. */

import type * as z from "zod";
import type { Role } from "./model.ts";

/** HTTP methods of the API. */
export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** What a call of a route gives and gets. */
export interface Call {
  readonly params: object;
  readonly query: object;
  /** null: no body; "bytes": anything, streamed. */
  readonly body: object | null | "bytes";
  readonly result: unknown;
}

/** One route. */
export interface Route<C extends Call = Call> {
  readonly method: Method;
  /** With parameters in braces: `/v1/apps/{app}`. */
  readonly path: string;
  readonly summary: string;
  /** The least role that may call it; null: anybody who can connect. */
  readonly role: Role | null;
  readonly params: z.ZodType<C["params"]>;
  readonly query: z.ZodType<C["query"]>;
  readonly body: C["body"] extends null ? null : C["body"] extends "bytes" ? "bytes" : z.ZodType<C["body"]>;
  readonly result: z.ZodType<C["result"]>;
  readonly status: 200 | 201 | 202;
  /** `events`: server-sent events, each a `result`. */
  readonly answer?: "json" | "events";
  /** Failures are told as OpenFeature's OFREP has it. */
  readonly ofrep?: true;
  /** Calls with the same Idempotency-Key are carried out once. */
  readonly idempotent?: true;
}

/** Any route, for those who go through all of them. */
export interface AnyRoute extends Omit<Route, "body"> {
  readonly body: z.ZodType<object> | "bytes" | null;
}

/** Roles from the least to the most. */
export const roles: readonly Role[] = ["viewer", "deployer", "admin", "operator"];

/** Whether a token of `role` may call what asks for `least`. */
export function permits(role: Role, least: Role | null): boolean {
  return least === null || roles.indexOf(role) >= roles.indexOf(least);
}
