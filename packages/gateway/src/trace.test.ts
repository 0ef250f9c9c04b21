import { describe, expect, test } from "vitest";
import type { Finished } from "./target.ts";
import { answering, app, client, gatewayFor, get, ok, target } from "./test-parties.ts";
import { contextOf } from "./trace.ts";

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

describe("a trace", () => {
  test("of the client is kept as it is by a gateway without spans", () => {
    const { traceparent, keepsState } = contextOf([["TraceParent", parent]], false);
    expect({ traceparent, keepsState }).toEqual({ traceparent: parent, keepsState: true });
  });

  test("of the client goes on in the gateway's span", () => {
    const { trace, traceparent } = contextOf([["traceparent", parent]], true);
    expect(trace).toMatchObject({
      traceId: "0af7651916cd43dd8448eb211c80319c",
      parentId: "b7ad6b7169203331",
      sampled: true,
    });
    expect(traceparent).toBe(`00-${trace.traceId}-${trace.spanId}-01`);
    expect(trace.spanId).not.toBe(trace.parentId);
  });

  test("that is not to be recorded stays so", () => {
    const context = contextOf([["traceparent", parent.replace(/01$/, "00")]], true);
    expect(context.trace.sampled).toBe(false);
    expect(context.traceparent).toMatch(/-00$/);
  });

  test("of a later version is understood as far as this one goes", () => {
    const later = `01${parent.slice(2)}-more`;
    expect(contextOf([["traceparent", later]], true).trace.traceId).toBe("0af7651916cd43dd8448eb211c80319c");
  });

  test.each([
    ["nothing", []],
    ["two of them", [parent, parent]],
    ["zeros", ["00-00000000000000000000000000000000-b7ad6b7169203331-01"]],
    ["no parent", ["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"]],
    ["capitals", [parent.toUpperCase()]],
    ["version ff", [`ff${parent.slice(2)}`]],
    ["more than version 00 has", [`${parent}-x`]],
    ["too little", [parent.slice(0, -1)]],
  ])("begins anew with %s", (_, values) => {
    const headers = values.map((value) => ["traceparent", value] as const);
    const { trace, traceparent, keepsState } = contextOf(headers, true);
    expect(traceparent).toMatch(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01$/);
    expect(trace.parentId).toBeNull();
    expect(keepsState).toBe(false);
  });
});

describe("an app", () => {
  const seen = async (...lines: readonly string[]): Promise<{ heard: string; told: Finished[] }> => {
    let heard = "";
    const told: Finished[] = [];
    await using server = await app(
      answering((request) => {
        heard = request;
        return ok("");
      }),
    );
    await using gateway = await gatewayFor({ a: target(server.address) }, (what) => void told.push(what));
    const c = client(gateway.port);
    c.send(get("/x?secret=1", ...lines));
    await c.until(/200 OK/);
    c.socket.destroy();
    return { heard, told };
  };

  test("hears of one trace, and of the state that belongs to it", async () => {
    const { heard, told } = await seen(`Traceparent: ${parent}`, "tracestate: a=1");
    const [one] = told;
    expect(heard.match(/traceparent/gi)).toHaveLength(1);
    expect(heard).toContain(`traceparent: 00-${one?.trace.traceId}-${one?.trace.spanId}-01\r\n`);
    expect(heard).toContain("tracestate: a=1\r\n");
    expect(one).toMatchObject({ path: "/x", host: "a", status: 200, whole: true, scheme: "http" });
    expect(one?.trace.parentId).toBe("b7ad6b7169203331");
  });

  test("hears of no state that belongs to another trace", async () => {
    const { heard } = await seen("traceparent: nonsense", "tracestate: a=1");
    expect(heard).not.toContain("tracestate");
    expect(heard).toMatch(/traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01\r\n/);
  });
});
