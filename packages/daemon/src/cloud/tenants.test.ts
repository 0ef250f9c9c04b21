import { expect, test } from "vitest";
import { Events } from "../events.ts";
import { memoryStore } from "../store/memory.ts";
import { type Scope, Tenants, within } from "./tenants.ts";

const all: Scope = { tenant: "default", project: null };

function made() {
  const store = memoryStore();
  return { store, tenants: new Tenants(store, new Events(store)) };
}

test("a token is shown once; what is kept does not give it away", async () => {
  const { store, tenants } = made();
  const { secret, id } = await tenants.createToken("ci", "deployer", all);
  const kept = JSON.stringify([store.list("tokens"), store.events({ after: 0, limit: 100 })]);
  expect(kept).toContain(id);
  expect(kept).not.toContain(secret.slice(-32));
  expect(await tenants.verify(secret)).toMatchObject({ tenant: "default", role: "deployer" });
  const other = secret.endsWith("x") ? "y" : "x";
  expect(await tenants.verify(`${secret.slice(0, -1)}${other}`)).toBeNull();
  expect(await tenants.verify(secret.replace(id, "another"))).toBeNull();
});

test("a token that is removed is refused at once, though it was verified before", async () => {
  const { tenants } = made();
  const { secret, id } = await tenants.createToken("ci", "deployer", all);
  await tenants.verify(secret);
  expect(() => tenants.removeToken(id, { ...all, tenant: "others" })).toThrow("there is no token");
  tenants.removeToken(id, all);
  expect(await tenants.verify(secret)).toBeNull();
});

test("guessing does not take the daemon's time from those who have a token", async () => {
  const { tenants } = made();
  const { secret } = await tenants.createToken("ci", "deployer", all);
  await tenants.verify(secret);
  const guesses = Array.from({ length: 50 }, (_, index) =>
    tenants.verify(`spore_x_${String(index).padStart(32, "0")}`).then(
      () => "refused",
      (error: { status: number }) => error.status,
    ),
  );
  expect(await tenants.verify(secret)).toMatchObject({ role: "deployer" });
  const outcomes = await Promise.all(guesses);
  expect(outcomes.filter((outcome) => outcome === "refused")).toHaveLength(8);
  expect(outcomes.filter((outcome) => outcome === 429)).toHaveLength(42);
});

test("a token of a project is of no other, and goes with it", async () => {
  const { store, tenants } = made();
  expect(tenants.projects(all, null, 10)).toMatchObject([{ name: "default" }]);
  const scope: Scope = { ...all, project: "shop" };
  await expect(tenants.createToken("ci", "admin", scope)).rejects.toThrow("there is no project shop");
  tenants.putProject("default", "shop");
  tenants.putProject("default", "shop");
  expect(tenants.projects(all, null, 10).map(({ name }) => name)).toEqual(["default", "shop"]);
  expect(tenants.projects(all, "default", 10).map(({ name }) => name)).toEqual(["shop"]);
  expect(tenants.projects(scope, null, 10).map(({ name }) => name)).toEqual(["shop"]);
  const { secret } = await tenants.createToken("ci", "admin", scope);
  const other = await tenants.createToken("all", "admin", all);
  expect(await tenants.verify(secret)).toMatchObject(scope);
  expect(within(scope, scope)).toBe(true);
  expect(within(scope, { tenant: "default", project: "default" })).toBe(false);
  expect(within(scope, { tenant: "acme", project: "shop" })).toBe(false);
  expect(tenants.tokens(scope, null, 10).map(({ name }) => name)).toEqual(["ci"]);
  expect(() => tenants.removeToken(other.id, scope)).toThrow("there is no token");
  expect(() => tenants.removeProject("default", "default")).toThrow("stays");
  tenants.removeProject("default", "shop");
  expect(await tenants.verify(secret)).toBeNull();
  expect(await tenants.verify(other.secret)).not.toBeNull();
  expect(store.events({ after: 0, limit: 10, project: "shop" }).map(({ kind }) => kind)).toEqual([
    "project.created",
    "project.removed",
  ]);
});

test("tokens of a daemon that knew of no projects are of all of them", () => {
  const { store } = made();
  const { project: _, ...old } = {
    id: "a",
    name: "a",
    role: "viewer",
    createdAt: 1,
    salt: "",
    hash: "",
    ...all,
  };
  store.put("tokens", "a", old as never);
  new Tenants(store, new Events(store));
  expect(store.get("tokens", "a")).toMatchObject({ project: null });
});

test("a tenant's apps listen on the ports that an operator gave it, and the first tenant's on all", () => {
  const { tenants } = made();
  tenants.admitPort("default", 6379);
  tenants.put("acme", {});
  expect(() => tenants.admitPort("acme", 6379)).toThrow("port 6379 is none of acme's");
  tenants.put("acme", {}, { from: 6000, to: 6379 });
  tenants.admitPort("acme", 6379);
  // What is not said stays.
  tenants.put("acme", { apps: 1 });
  tenants.admitPort("acme", 6000);
  expect(() => tenants.admitPort("acme", 6380)).toThrow("port 6380");
  tenants.put("acme", {}, null);
  expect(() => tenants.admitPort("acme", 6000)).toThrow("port 6000");
});

test("machines that stand by take what instances leave of the quota of memory", () => {
  const { store, tenants } = made();
  store.put("apps", "a", { name: "a", tenant: "default" } as never);
  const fleet = { members: new Map([["1", { app: "a", memory: 60 }]]) } as never;
  const admits = (bytes: number, memory = 0) => tenants.admitsStandby("default", () => bytes, memory, fleet);
  expect(admits(1000)).toBe(true);
  tenants.put("default", { memory: 100 });
  expect(admits(40)).toBe(true);
  expect(admits(41)).toBe(false);
  expect(admits(40, 1)).toBe(false);
});
