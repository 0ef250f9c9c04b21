/**
 * Sends spans to an OpenTelemetry collector: OTLP over HTTP, in JSON. What a
 * collector does not take in time is dropped and counted: nobody waits for it.
 */

import { type Finished, newSpanId } from "@spore/gateway";

/** Spans are sent when there are so many, or after so long. */
const BATCH = 256;
const EVERY_MS = 1000;
/** Spans that wait at most, while the collector is slow. */
const QUEUE = 4096;
const TIMEOUT_MS = 10_000;

/** Where to send. */
export interface OtlpOptions {
  /** The collector's address; spans go to `/v1/traces` of it. */
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly version: string;
}

type Value = { readonly stringValue: string } | { readonly intValue: string };

interface Attribute {
  readonly key: string;
  readonly value: Value;
}

/** A span as OTLP has it. */
interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly Attribute[];
  readonly status: { readonly code?: number };
}

const INTERNAL = 1;
const SERVER = 2;
const ERROR = 2;

/** Headers as OTEL_EXPORTER_OTLP_HEADERS has them: `a=b,c=d`, percent-encoded. */
export function headersOf(text: string | undefined): Record<string, string> {
  const pairs = (text ?? "").split(",").flatMap((pair) => {
    const equals = pair.indexOf("=");
    if (equals < 1) return [];
    return [[pair.slice(0, equals).trim(), decodeURIComponent(pair.slice(equals + 1).trim())] as const];
  });
  return Object.fromEntries(pairs);
}

/** Sends spans. */
export class Otlp {
  readonly #url: string;
  readonly #options: OtlpOptions;
  #queue: Span[] = [];
  #timer: NodeJS.Timeout | null = null;
  #sending: Promise<void> | null = null;
  /** Spans that were sent, and spans that were not. */
  sent = 0;
  dropped = 0;

  constructor(options: OtlpOptions) {
    this.#options = options;
    this.#url = `${options.endpoint.replace(/\/+$/, "")}/v1/traces`;
  }

  /** A request is over. */
  finished(what: Finished): void {
    if (!what.trace.sampled) return;
    const spans = spansOf(what);
    if (this.#queue.length + spans.length > QUEUE) {
      this.dropped += spans.length;
      return;
    }
    this.#queue.push(...spans);
    if (this.#queue.length >= BATCH) this.#send();
    else this.#timer ??= setTimeout(() => this.#send(), EVERY_MS).unref();
  }

  /** Sends what there is; for the end. */
  async flush(): Promise<void> {
    this.#send();
    while (this.#sending !== null) await this.#sending;
  }

  #send(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#sending !== null || this.#queue.length === 0) return;
    const spans = this.#queue.splice(0, BATCH);
    this.#sending = this.#post(spans).then((taken) => {
      if (taken) this.sent += spans.length;
      else this.dropped += spans.length;
      this.#sending = null;
      if (this.#queue.length > 0) this.#send();
    });
  }

  async #post(spans: readonly Span[]): Promise<boolean> {
    const { headers, version } = this.#options;
    const resource = { attributes: [text("service.name", "spore"), text("service.version", version)] };
    const scopeSpans = [{ scope: { name: "spore.gateway", version }, spans }];
    try {
      const answer = await fetch(this.#url, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json" },
        body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans }] }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
        redirect: "error",
      });
      await answer.arrayBuffer();
      return answer.ok;
    } catch {
      return false;
    }
  }
}

/** The request, and below it what it waited for. */
function spansOf(what: Finished): Span[] {
  const { trace, method, status, began, ended, phases, start, target, whole } = what;
  const failed = status >= 500 || !whole;
  const [app = "", release = ""] = target?.split("/") ?? [];
  const request: Span = {
    traceId: trace.traceId,
    spanId: trace.spanId,
    ...(trace.parentId !== null && { parentSpanId: trace.parentId }),
    name: method,
    kind: SERVER,
    startTimeUnixNano: nano(began),
    endTimeUnixNano: nano(ended),
    attributes: [
      text("http.request.method", method),
      number("http.response.status_code", status),
      text("url.scheme", what.scheme),
      text("url.path", what.path),
      text("server.address", what.host),
      text("client.address", what.peer),
      ...(target === null ? [] : [text("spore.app", app), number("spore.release", Number(release))]),
      ...(start === null ? [] : [text("spore.start", start)]),
    ],
    status: failed ? { code: ERROR } : {},
  };
  const part = (name: string, from: number, ms: number, attributes: readonly Attribute[]): Span => ({
    traceId: trace.traceId,
    spanId: newSpanId(),
    parentSpanId: trace.spanId,
    name,
    kind: INTERNAL,
    startTimeUnixNano: nano(from),
    endTimeUnixNano: nano(from + ms),
    attributes,
    status: {},
  });
  const { accept = 0, wait, first_byte: firstByte } = phases;
  if (wait === undefined) return [request];
  const steps = Object.entries(phases).filter(([name]) => !/^(accept|wait|first_byte)$/.test(name));
  const spans = [
    request,
    part("accept", began, accept, []),
    part(
      "wake",
      began + accept,
      wait,
      steps.map(([name, ms]) => number(`spore.wake.${name}_us`, Math.round(ms * 1000))),
    ),
  ];
  if (firstByte !== undefined) spans.push(part("first byte", began + accept + wait, firstByte, []));
  return spans;
}

function text(key: string, value: string): Attribute {
  return { key, value: { stringValue: value } };
}

function number(key: string, value: number): Attribute {
  return { key, value: { intValue: String(value) } };
}

/** Milliseconds since 1970 in nanoseconds, which a number does not hold exactly. */
function nano(ms: number): string {
  return `${BigInt(Math.round(ms * 1000)) * 1000n}`;
}
