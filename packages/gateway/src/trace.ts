/** W3C Trace Context: which trace a request belongs to. */

import { randomBytes } from "node:crypto";
import type { Header } from "./head.ts";

/** A request's place in a trace. */
export interface Trace {
  readonly traceId: string;
  /** The gateway's own span; the app's parent. */
  readonly spanId: string;
  /** The client's span, if it said so. */
  readonly parentId: string | null;
  readonly sampled: boolean;
}

/** What a request says of its trace. */
export interface Context {
  readonly trace: Trace;
  /** For the app; the client's own, if the gateway takes no part. */
  readonly traceparent: string;
  /** What the client said beside it belongs to its trace and to no other. */
  readonly keepsState: boolean;
}

const pattern = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const SAMPLED = 1;

/** The trace of a request; a new one if it belongs to none. `takesPart`: the gateway has spans of its own. */
export function contextOf(headers: readonly Header[], takesPart: boolean): Context {
  let said: string | null = null;
  let count = 0;
  for (const [name, value] of headers) {
    if (name.length !== 11 || name.toLowerCase() !== "traceparent") continue;
    said = value;
    count += 1;
  }
  const [, version, traceId = "", parentId = "", flags = "", more] = pattern.exec(said ?? "") ?? [];
  const known =
    count === 1 &&
    version !== undefined &&
    (version !== "00" || more === undefined) &&
    !/^0+$/.test(traceId) &&
    !/^0+$/.test(parentId);
  if (!known) {
    const ids = hex(24);
    const trace = { traceId: ids.slice(0, 32), spanId: ids.slice(32), parentId: null, sampled: true };
    return { trace, traceparent: `00-${trace.traceId}-${trace.spanId}-01`, keepsState: false };
  }
  const sampled = (Number.parseInt(flags, 16) & SAMPLED) !== 0;
  if (!takesPart) {
    const trace = { traceId, spanId: parentId, parentId: null, sampled };
    return { trace, traceparent: said ?? "", keepsState: true };
  }
  const spanId = hex(8);
  return {
    trace: { traceId, spanId, parentId, sampled },
    traceparent: `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`,
    keepsState: true,
  };
}

/** Random bytes are had by the page: one call for a request would cost more than all the rest. */
let pool: Buffer = Buffer.alloc(0);
let used = 0;

function hex(bytes: number): string {
  if (used + bytes > pool.length) {
    pool = randomBytes(8192);
    used = 0;
  }
  const text = pool.toString("hex", used, used + bytes);
  used += bytes;
  return text;
}

/** An id of a span. */
export function newSpanId(): string {
  return hex(8);
}
