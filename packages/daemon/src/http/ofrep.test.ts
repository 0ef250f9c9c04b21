import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OpenFeature } from "@openfeature/server-sdk";
import type { FastifyInstance } from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Flags } from "../cloud/flags.ts";
import { Events } from "../events.ts";
import { memoryStore } from "../store/memory.ts";
import type { Handlers, Streams } from "./call.ts";
import { apiServer } from "./server.ts";

let flags: Flags;
let server: FastifyInstance;
let url: string;
beforeEach(async () => {
  const store = memoryStore();
  flags = new Flags(store, new Events(store));
  const handlers: Partial<Handlers> = {
    evaluateFlag: ({ params }) => flags.evaluate(params.app, params.key),
    evaluateFlags: ({ params }) => ({
      flags: flags.list(params.app).map(({ key }) => flags.evaluate(params.app, key)),
    }),
  };
  server = apiServer({
    store,
    handlers: handlers as Handlers,
    streams: {} as Streams,
    verify: async (token) => (token === "good" ? { tenant: "default", project: null, role: "viewer" } : null),
    trusted: null,
    seal: (text) => text,
    version: "0",
    metrics: async () => "",
    wrong: () => {},
  });
  url = await server.listen({ host: "127.0.0.1", port: 0 });
});
afterEach(async () => {
  await OpenFeature.clearProviders();
  await server.close();
});

test("the stock OpenFeature SDK evaluates flags, hears of changes at once, and falls back when it must", async () => {
  const provider = new OFREPProvider({
    baseUrl: `${url}/apps/shop`,
    headers: [["authorization", "Bearer good"]],
  });
  await OpenFeature.setProviderAndWait(provider);
  const client = OpenFeature.getClient();
  flags.put("shop", "checkout", { enabled: true, variants: { on: true, off: false }, variant: "on" });
  flags.put("shop", "color", { enabled: true, variants: { red: "#f00", blue: "#00f" }, variant: "blue" });
  flags.put("shop", "limit", { enabled: true, variants: { few: 3 }, variant: "few" });
  expect(await client.getBooleanValue("checkout", false)).toBe(true);
  expect(await client.getStringDetails("color", "")).toMatchObject({
    value: "#00f",
    variant: "blue",
    reason: "STATIC",
  });
  expect(await client.getNumberValue("limit", 0, { targetingKey: "somebody", plan: "pro" })).toBe(3);
  flags.put("shop", "checkout", { enabled: false, variants: { on: true, off: false }, variant: "on" });
  expect(await client.getBooleanDetails("checkout", true)).toMatchObject({
    value: false,
    reason: "DISABLED",
  });
  expect(await client.getBooleanDetails("nothing", true)).toMatchObject({
    value: true,
    errorCode: "FLAG_NOT_FOUND",
  });
  expect(await client.getBooleanDetails("color", true)).toMatchObject({
    value: true,
    errorCode: "TYPE_MISMATCH",
  });
});

test("all flags at once have a tag, and are not sent again while it holds", async () => {
  flags.put("shop", "checkout", { enabled: true, variants: { on: true }, variant: "on" });
  const ask = (tag: string | null) =>
    fetch(`${url}/apps/shop/ofrep/v1/evaluate/flags`, {
      method: "POST",
      headers: {
        authorization: "Bearer good",
        "content-type": "application/json",
        ...(tag !== null && { "if-none-match": tag }),
      },
      body: "{}",
    });
  const first = await ask(null);
  expect(await first.json()).toEqual({
    flags: [{ key: "checkout", reason: "STATIC", variant: "on", value: true }],
  });
  const tag = first.headers.get("etag");
  expect((await ask(tag)).status).toBe(304);
  flags.put("shop", "checkout", { enabled: false, variants: { on: true }, variant: "on" });
  expect((await ask(tag)).status).toBe(200);
});

test("without a token nothing is evaluated, and the protocol says so", async () => {
  const answer = await fetch(`${url}/apps/shop/ofrep/v1/evaluate/flags/checkout`, { method: "POST" });
  expect(answer.status).toBe(401);
  expect(await answer.json()).toMatchObject({ key: "checkout", errorCode: "GENERAL" });
});
