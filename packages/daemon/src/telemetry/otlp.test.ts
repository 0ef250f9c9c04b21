import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Finished } from "@spore/gateway";
import { afterEach, beforeEach, expect, test } from "vitest";
import { headersOf, Otlp } from "./otlp.ts";

interface Post {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: { readonly resourceSpans: readonly unknown[] };
}

let server: Server;
let posts: Post[];
let status: number;
beforeEach(async () => {
  posts = [];
  status = 200;
  server = createServer(async (request, response) => {
    let text = "";
    for await (const part of request.setEncoding("utf8")) text += part;
    posts.push({ url: request.url ?? "", headers: request.headers, body: JSON.parse(text) });
    response.writeHead(status).end("{}");
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
});
afterEach(() => new Promise((resolve) => void server.close(resolve)));

function otlp(headers: Record<string, string> = {}): Otlp {
  const { port } = server.address() as AddressInfo;
  return new Otlp({ endpoint: `http://127.0.0.1:${port}/`, headers, version: "1" });
}

const request: Finished = {
  trace: {
    traceId: "0".repeat(31).concat("1"),
    spanId: "0".repeat(15).concat("2"),
    parentId: null,
    sampled: true,
  },
  target: "hello/3",
  method: "GET",
  status: 200,
  start: "snapshot",
  firstByteMs: 5,
  phases: { accept: 0.25, wait: 4, shell: 1, restore: 2, resume: 1, first_byte: 0.75 },
  host: "hello.localhost",
  path: "/x",
  scheme: "http",
  peer: "127.0.0.1",
  began: 1_700_000_000_000.5,
  ended: 1_700_000_000_006,
  whole: true,
};

test("a request that woke its app is a span with its parts below", async () => {
  const sender = otlp(headersOf("api-key=a%20b, other=c"));
  sender.finished(request);
  await sender.flush();
  expect(posts).toHaveLength(1);
  expect(posts[0]).toMatchObject({ url: "/v1/traces", headers: { "api-key": "a b", other: "c" } });
  expect(posts[0]?.body).toMatchObject({
    resourceSpans: [
      {
        resource: { attributes: [{ key: "service.name", value: { stringValue: "spore" } }, {}] },
        scopeSpans: [
          {
            spans: [
              {
                traceId: request.trace.traceId,
                spanId: request.trace.spanId,
                name: "GET",
                kind: 2,
                startTimeUnixNano: "1700000000000500000",
                endTimeUnixNano: "1700000000006000000",
              },
              { name: "accept", parentSpanId: request.trace.spanId },
              {
                name: "wake",
                parentSpanId: request.trace.spanId,
                startTimeUnixNano: "1700000000000750000",
                endTimeUnixNano: "1700000000004750000",
              },
              { name: "first byte" },
            ],
          },
        ],
      },
    ],
  });
  expect(sender.sent).toBe(4);
});

test("a request that found its app awake is one span, with an error if it failed", async () => {
  const sender = otlp();
  sender.finished({ ...request, phases: {}, start: "warm", status: 502 });
  sender.finished({ ...request, phases: {}, trace: { ...request.trace, sampled: false } });
  await sender.flush();
  const { body } = posts[0] ?? {};
  expect(body).toMatchObject({ resourceSpans: [{ scopeSpans: [{ spans: [{ status: { code: 2 } }] }] }] });
});

test("what a collector does not take is counted, and no more is kept than there is room for", async () => {
  status = 503;
  const sender = otlp();
  for (let count = 0; count < 5000; count += 1) sender.finished({ ...request, phases: {} });
  await sender.flush();
  expect(sender.sent).toBe(0);
  expect(sender.dropped).toBe(5000);
  expect(posts.length).toBeLessThanOrEqual(17);
});
