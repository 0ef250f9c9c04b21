import { expect, test } from "vitest";
import { memoryStore } from "../store/memory.ts";
import type { FlagRecord, Store } from "../store/types.ts";
import type { Commit } from "./call.ts";
import { once } from "./idempotency.ts";

const flag: FlagRecord = { app: "a", key: "x", enabled: true, variants: {}, variant: "on", updatedAt: 1 };

const scope = { tenant: "t", project: null };

/** Sets a flag and counts how often it is asked to. */
function change(store: Store) {
  let times = 0;
  return async (commit: Commit): Promise<unknown> =>
    commit(() => {
      times += 1;
      store.put("flags", "a/x", flag);
      return { times };
    });
}

test("a call is carried out once, however often and at the same time it is sent", async () => {
  const store = memoryStore();
  const work = change(store);
  const ask = () => once(store, { scope, key: "key", question: "call" }, work);
  const other = once(store, { scope, key: "early", question: "call" }, work);
  await expect(once(store, { scope, key: "early", question: "another" }, work)).rejects.toThrow("another");
  expect(await other).toEqual({ times: 1 });
  expect(await Promise.all([ask(), ask()])).toEqual([{ times: 2 }, { times: 2 }]);
  expect(await ask()).toEqual({ times: 2 });
  await expect(once(store, { scope, key: "key", question: "another" }, work)).rejects.toThrow(
    "was used for another call",
  );
  expect(await once(store, { scope, key: "other", question: "call" }, work)).toEqual({ times: 3 });
});

test("what is changed and that it was changed are kept together, or not at all", async () => {
  const store = memoryStore();
  const full: Store = {
    get: store.get.bind(store),
    delete: store.delete.bind(store),
    list: store.list.bind(store),
    append: store.append.bind(store),
    events: store.events.bind(store),
    transaction: store.transaction.bind(store),
    after: store.after.bind(store),
    durable: store.durable.bind(store),
    close: store.close.bind(store),
    put: (bucket, key, value) => {
      if (bucket === "answers") throw new Error("the disk is full");
      store.put(bucket, key, value);
    },
  };
  await expect(once(full, { scope, key: "key", question: "call" }, change(store))).rejects.toThrow(
    "the disk is full",
  );
  expect(store.get("flags", "a/x")).toBeNull();
  expect(await once(store, { scope, key: "key", question: "call" }, change(store))).toEqual({
    times: 1,
  });
  expect(store.get("flags", "a/x")).toEqual(flag);
});
