import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { defaultSettings } from "../cloud/apps.ts";
import { memoryStore } from "./memory.ts";
import { openSqlite } from "./sqlite.ts";
import type { FlagRecord, NewEvent, Store } from "./types.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spore-store-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const flag = (app: string, key: string): FlagRecord => ({
  app,
  key,
  enabled: true,
  variants: { on: true },
  variant: "on",
  updatedAt: 1,
});
const event = (kind: string, app: string | null = null, tenant: string | null = null): NewEvent => ({
  time: 1,
  kind,
  app,
  tenant,
  project: null,
  release: null,
  instance: null,
  details: {},
});

describe.each([
  ["sqlite", () => openSqlite(join(folder, "state.db"))],
  ["memory", () => memoryStore()],
] as const)("a store (%s)", (_, open) => {
  let store: Store;
  beforeEach(() => {
    store = open();
  });
  afterEach(() => store.close());

  test("gives what was put, until it is deleted", () => {
    expect(store.get("flags", "a/x")).toBeNull();
    store.put("flags", "a/x", flag("a", "x"));
    store.put("flags", "a/x", { ...flag("a", "x"), enabled: false });
    expect(store.get("flags", "a/x")?.enabled).toBe(false);
    store.delete("flags", "a/x");
    expect(store.get("flags", "a/x")).toBeNull();
  });

  test("lists by prefix, in the order of the keys, from a key on, so many", () => {
    for (const [app, key] of [
      ["b", "1"],
      ["a", "2"],
      ["a", "1"],
      ["a", "3"],
      ["ab", "1"],
    ] as const) {
      store.put("flags", `${app}/${key}`, flag(app, key));
    }
    const keys = (range: Parameters<Store["list"]>[1]) =>
      store.list("flags", range).map(({ app, key }) => app + key);
    expect(keys({ prefix: "a/" })).toEqual(["a1", "a2", "a3"]);
    expect(keys({ prefix: "a/", after: "a/1", limit: 1 })).toEqual(["a2"]);
    expect(keys({})).toEqual(["a1", "a2", "a3", "ab1", "b1"]);
  });

  test("takes back all of a transaction that fails", () => {
    store.put("flags", "a/x", flag("a", "x"));
    expect(() =>
      store.transaction(() => {
        store.delete("flags", "a/x");
        store.transaction(() => store.put("flags", "a/y", flag("a", "y")));
        store.append(event("lost"));
        throw new Error("no");
      }),
    ).toThrow("no");
    expect(store.list("flags").map(({ key }) => key)).toEqual(["x"]);
    expect(store.events({ after: 0, limit: 10 })).toEqual([]);
    expect(store.transaction(() => 7)).toBe(7);
  });

  test("does what is to come after a transaction once it counts, and never if it does not", () => {
    const done: string[] = [];
    store.after(() => done.push("alone"));
    store.transaction(() => {
      store.after(() => done.push("after"));
      store.transaction(() => store.durable());
      done.push("within");
    });
    expect(done).toEqual(["alone", "within", "after"]);
    expect(() =>
      store.transaction(() => {
        store.after(() => done.push("never"));
        throw new Error("no");
      }),
    ).toThrow("no");
    store.transaction(() => {});
    expect(done).toEqual(["alone", "within", "after"]);
  });

  test("numbers events and finds them by number, app and tenant", () => {
    const seqs = [event("one", "a", "t"), event("two", "b", "u"), event("three", "a", "t")].map(
      (each) => store.append(each).seq,
    );
    expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
    const kinds = (range: Parameters<Store["events"]>[0]) => store.events(range).map(({ kind }) => kind);
    expect(kinds({ after: 0, limit: 10 })).toEqual(["one", "two", "three"]);
    expect(kinds({ after: seqs[0] ?? 0, limit: 10, app: "a" })).toEqual(["three"]);
    expect(kinds({ after: 0, limit: 10, tenant: "u" })).toEqual(["two"]);
    expect(kinds({ after: 0, limit: 1 })).toEqual(["one"]);
    expect(store.events({ after: 0, limit: 1 })[0]).not.toHaveProperty("tenant");
  });
});

test("a file is held by one at a time, and what was put is there for the next", () => {
  const file = join(folder, "state.db");
  const first = openSqlite(file);
  first.put("flags", "a/x", flag("a", "x"));
  expect(() => openSqlite(file)).toThrow(expect.objectContaining({ code: "SPORE_DAEMON_RUNNING" }));
  first.durable();
  first.close();
  const second = openSqlite(file);
  expect(second.get("flags", "a/x")).toEqual(flag("a", "x"));
  second.close();
});

test("events of a daemon that knew of no projects stay", () => {
  const file = join(folder, "state.db");
  const old = new DatabaseSync(file);
  old.exec(`CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, tenant TEXT,
    app TEXT, value TEXT NOT NULL); PRAGMA user_version = 1;
    INSERT INTO events VALUES (7, 1, 'acme', 'a', '{"kind":"old"}')`);
  old.close();
  const store = openSqlite(file);
  store.append({ ...event("new", "a", "acme"), project: "shop" });
  expect(store.events({ after: 0, limit: 10, tenant: "acme" })).toMatchObject([
    { seq: 7, kind: "old" },
    { seq: 8, kind: "new" },
  ]);
  expect(store.events({ after: 0, limit: 10, project: "shop" })).toMatchObject([{ seq: 8 }]);
  store.close();
});

test("what is kept at hand is never what was rolled back, or has changed since", () => {
  const store = openSqlite(join(folder, "state.db"));
  try {
    const app = { name: "a", tenant: "t", project: "p", createdAt: 1, live: 1, canary: null, lastRelease: 1 };
    const put = (live: number): void => store.put("apps", "a", { ...app, live, settings: defaultSettings });
    put(1);
    expect(store.get("apps", "a")?.live).toBe(1);
    const fails = (): void => {
      put(2);
      expect(store.get("apps", "a")?.live).toBe(2);
      throw new Error("no");
    };
    expect(() => store.transaction(fails)).toThrow("no");
    expect(store.get("apps", "a")?.live).toBe(1);
    put(3);
    expect(store.get("apps", "a")?.live).toBe(3);
    store.delete("apps", "a");
    expect(store.get("apps", "a")).toBeNull();
  } finally {
    store.close();
  }
});
