import { expect, test } from "vitest";
import { Events } from "../events.ts";
import { memoryStore } from "../store/memory.ts";
import { Possessions } from "./possessions.ts";
import { Tenants } from "./tenants.ts";

const [image, layer] = ["a".repeat(64), "b".repeat(64)];

function made() {
  const store = memoryStore();
  const stored = new Set([image, layer]);
  const images = {
    has: (digest: string) => stored.has(digest),
    parts: (digest: string) => (digest === image ? [layer] : []),
  };
  return { store, stored, possessions: new Possessions(store, images) };
}

test("who knows a digest has nothing of it: what others have is as what nobody has", () => {
  const { possessions, stored } = made();
  possessions.note("acme", image);
  possessions.note("acme", layer);
  expect(possessions.missing("acme", [image, layer])).toEqual([]);
  possessions.check("acme", image);
  const said = (digest: string): string => {
    try {
      possessions.check("rival", digest);
      return "";
    } catch (thrown) {
      return (thrown as Error).message.replace(digest, "it");
    }
  };
  const nobodys = "c".repeat(64);
  expect(possessions.missing("rival", [image, layer, nobodys])).toEqual([image, layer, nobodys]);
  expect(said(image)).toBe(said(nobodys));
  // A manifest of one's own that names a layer of another's.
  possessions.note("rival", image);
  expect(() => possessions.check("rival", image)).toThrow(`there is no blob ${layer}`);
  const told = said(image);
  stored.delete(layer);
  expect(said(image)).toBe(told);
});

test("what is gone is had by nobody, nor by a tenant that is gone", () => {
  const { possessions, stored, store } = made();
  const tenants = new Tenants(store, new Events(store));
  tenants.put("acme", {});
  possessions.note("acme", image);
  possessions.note("acme", layer);
  stored.delete(layer);
  expect(possessions.missing("acme", [image, layer])).toEqual([layer]);
  possessions.sweep();
  expect(store.list("uploads")).toEqual([{ tenant: "acme", digest: image }]);
  tenants.remove("acme");
  expect(store.list("uploads")).toEqual([]);
});
