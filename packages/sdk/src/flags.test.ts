import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openFlags } from "./flags.ts";

let server: Server;
let url: string;
let flags: Record<string, boolean | number | string>;
let statuses: number[];
beforeEach(async () => {
  flags = {};
  statuses = [];
  server = createServer((request, response) => {
    request.resume();
    const tag = `"${JSON.stringify(flags).length}${JSON.stringify(flags).replaceAll(/[^a-z0-9]/g, "")}"`;
    const status =
      request.url !== "/ofrep/v1/evaluate/flags" ? 404 : request.headers["if-none-match"] === tag ? 304 : 200;
    statuses.push(status);
    const all = Object.entries(flags).map(([key, value]) => ({ key, value, reason: "STATIC" }));
    response
      .writeHead(status, { etag: tag })
      .end(status === 200 ? JSON.stringify({ flags: all }) : undefined);
  });
  await new Promise<void>((ready) => void server.listen(0, "127.0.0.1", ready));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((closed) => void server.close(closed));
});

test("flags are evaluated here, by the type that the app wants", async () => {
  flags = { checkout: true, color: "#f00", limit: 3 };
  using mine = await openFlags({ url });
  expect(mine.get("checkout", false)).toBe(true);
  expect(mine.get("color", "none")).toBe("#f00");
  expect(mine.get("limit", 0)).toBe(3);
  expect(mine.get("checkout", "a text")).toBe("a text");
  expect(mine.get("nothing", 7)).toBe(7);
  expect(statuses).toEqual([200]);
});

test("a change is heard of, and nothing is sent while there is none", async () => {
  flags = { checkout: false };
  using mine = await openFlags({ url, everyMs: 5 });
  await expect.poll(() => statuses).toContain(304);
  const changed = Promise.withResolvers<void>();
  mine.onChange(changed.resolve);
  flags = { checkout: true };
  await changed.promise;
  expect(mine.get("checkout", false)).toBe(true);
});

test("where nobody answers, the app's own values hold, and known ones stay", async () => {
  using nowhere = await openFlags({ url: "http://127.0.0.1:1" });
  expect(nowhere.get("checkout", true)).toBe(true);
  flags = { checkout: true };
  using mine = await openFlags({ url });
  server.closeAllConnections();
  await new Promise((closed) => void server.close(closed));
  expect(await mine.refresh()).toBe(false);
  expect(mine.get("checkout", false)).toBe(true);
  await new Promise<void>((ready) => void server.listen(0, "127.0.0.1", ready));
});
