import { type Calls, type Role, roles, routes } from "@spore/api";
import { sporeError } from "@spore/errors";
import { describe, expect, test } from "vitest";
import { memoryStore } from "../store/memory.ts";
import type { Handlers, Streams } from "./call.ts";
import { apiServer } from "./server.ts";

/** A server whose every handler says that it was reached. */
function server() {
  const reached = (): never => {
    throw sporeError("SPORE_CONFLICT", { problem: "reached" });
  };
  const all = Object.fromEntries(Object.keys(routes).map((name) => [name, reached]));
  return apiServer({
    store: memoryStore(),
    handlers: all as unknown as Handlers,
    streams: all as unknown as Streams,
    verify: async (token) => {
      const role = roles.find((each) => each === token);
      return role === undefined ? null : { tenant: "default", project: null, role };
    },
    trusted: null,
    seal: (text) => text,
    version: "0",
    metrics: async () => "numbers",
    wrong: () => {},
  });
}

const shared = server();

/**
 * The least role for each route, written down once more: a route that is new or
 * whose role changes is a decision about rights, and has to be made here too.
 */
const rights: { readonly [K in keyof Calls]: Role } = {
  status: "viewer",
  getAuthority: "viewer",
  getMetrics: "viewer",
  missingBlobs: "deployer",
  putBlob: "deployer",
  putImage: "deployer",
  listApps: "viewer",
  getApp: "viewer",
  changeApp: "deployer",
  deleteApp: "admin",
  deploy: "deployer",
  listReleases: "viewer",
  getRelease: "viewer",
  rollback: "deployer",
  promote: "deployer",
  getDeployment: "viewer",
  listInstances: "viewer",
  getInstance: "viewer",
  stopInstance: "deployer",
  listCrashes: "viewer",
  getCrash: "viewer",
  listEvents: "viewer",
  followEvents: "viewer",
  readLogs: "viewer",
  followLogs: "viewer",
  getEnv: "viewer",
  changeEnv: "deployer",
  listSecrets: "viewer",
  changeSecrets: "deployer",
  listFlags: "viewer",
  putFlag: "deployer",
  deleteFlag: "deployer",
  listTokens: "admin",
  createToken: "admin",
  deleteToken: "admin",
  listProjects: "viewer",
  putProject: "admin",
  deleteProject: "admin",
  listDomains: "viewer",
  putDomain: "deployer",
  deleteDomain: "admin",
  listTenants: "operator",
  putTenant: "operator",
  deleteTenant: "operator",
  evaluateFlag: "viewer",
  evaluateFlags: "viewer",
};

test("the rights of every route are written down, and of nothing else", () => {
  expect(Object.keys(rights).sort()).toEqual(Object.keys(routes).sort());
});

/** A body that each route accepts. */
const bodies: Partial<Record<keyof Calls, unknown>> = {
  missingBlobs: { digests: [] },
  deploy: { image: "0".repeat(64) },
  putFlag: { enabled: true, variants: { on: true }, variant: "on" },
  createToken: { name: "a", role: "viewer" },
};

const values: Readonly<Record<string, string>> = {
  app: "hello",
  release: "1",
  id: "a-1",
  digest: "0".repeat(64),
  key: "flag",
  tenant: "acme",
  project: "shop",
  domain: "www.example.com",
};

async function ask(name: keyof Calls, token: string | null): Promise<number> {
  const { method, path, body } = routes[name];
  const bytes = body === "bytes";
  const answer = await shared.inject({
    method,
    url: path.replace(/\{(\w+)\}/g, (_, parameter: string) => values[parameter] ?? ""),
    headers: {
      ...(token !== null && { authorization: `Bearer ${token}` }),
      ...(body !== null && { "content-type": bytes ? "application/octet-stream" : "application/json" }),
    },
    ...(body !== null && { payload: bytes ? "x" : JSON.stringify(bodies[name] ?? {}) }),
  });
  return answer.statusCode;
}

describe.each(Object.keys(routes) as (keyof Calls)[])("%s", (name) => {
  test.each(roles)("as %s", async (role: Role) => {
    const allowed = roles.indexOf(role) >= roles.indexOf(rights[name]);
    expect(await ask(name, role)).toBe(allowed ? 409 : 403);
  });

  test("without a token, or with a wrong one", async () => {
    expect(await ask(name, null)).toBe(401);
    expect(await ask(name, "guess")).toBe(401);
  });
});

test("what is not as the schema says is refused with the place where it is not", async () => {
  const answer = await shared.inject({
    method: "POST",
    url: "/v1/tokens",
    headers: { authorization: "Bearer admin" },
    payload: { name: "a", role: "king" },
  });
  expect(answer.statusCode).toBe(400);
  expect(answer.json()).toMatchObject({
    error: { code: "SPORE_API_INVALID", message: expect.stringContaining("body.role") },
  });
});

test.each([
  ["a body that is not JSON", "POST", "/v1/tokens", "{", 400],
  ["a route that is not there", "GET", "/v1/nothing", "", 404],
  ["a name that no app can have", "GET", "/v1/apps/..%2f..", "", 400],
] as const)("%s is the caller's fault", async (_, method, url, payload, status) => {
  const headers = { authorization: "Bearer operator", "content-type": "application/json" };
  const answer = await shared.inject({ method, url, headers, ...(method === "POST" && { payload }) });
  expect(answer.statusCode).toBe(status);
  expect(answer.json()).toMatchObject({ error: { code: expect.stringMatching(/^SPORE_/) } });
});

test.each(["TRACE", "POST", "OPTIONS"] as const)("%s where it is not served says what is", async (method) => {
  const answer = await shared.inject({ method: method as "POST", url: "/v1/apps/hello/releases/1" });
  expect(answer.statusCode).toBe(405);
  expect(answer.headers["allow"]).toBe("GET, HEAD");
  expect(answer.json()).toMatchObject({ error: { code: "SPORE_API_INVALID" } });
});

test("metrics need a token too", async () => {
  const get = async (headers: Record<string, string>) =>
    (await shared.inject({ method: "GET", url: "/metrics", headers })).statusCode;
  expect(await get({})).toBe(401);
  expect(await get({ authorization: "Bearer viewer" })).toBe(200);
});
