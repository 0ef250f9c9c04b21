import { expect, test } from "vitest";
import { Events } from "../events.ts";
import { memoryStore } from "../store/memory.ts";
import { Tenants } from "./tenants.ts";

function made() {
  const store = memoryStore();
  return { store, tenants: new Tenants(store, new Events(store)) };
}

test("a token is shown once; what is kept does not give it away", async () => {
  const { store, tenants } = made();
  const { secret, id } = await tenants.createToken("ci", "deployer", "default");
  const kept = JSON.stringify([store.list("tokens"), store.events({ after: 0, limit: 100 })]);
  expect(kept).toContain(id);
  expect(kept).not.toContain(secret.slice(-32));
  expect(await tenants.verify(secret)).toMatchObject({ tenant: "default", role: "deployer" });
  expect(await tenants.verify(`${secret.slice(0, -1)}x`)).toBeNull();
  expect(await tenants.verify(secret.replace(id, "another"))).toBeNull();
});

test("a token that is removed is refused at once, though it was verified before", async () => {
  const { tenants } = made();
  const { secret, id } = await tenants.createToken("ci", "deployer", "default");
  await tenants.verify(secret);
  expect(() => tenants.removeToken(id, "others")).toThrow("there is no token");
  tenants.removeToken(id, "default");
  expect(await tenants.verify(secret)).toBeNull();
});

test("guessing does not take the daemon's time from those who have a token", async () => {
  const { tenants } = made();
  const { secret } = await tenants.createToken("ci", "deployer", "default");
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
