import { expect, test } from "vitest";
import { errorReference } from "./reference.ts";
import { exitStatuses, registry } from "./registry.ts";

test("docs/reference/errors.md is what the registry says (vitest -u writes it)", async () => {
  await expect(errorReference()).toMatchFileSnapshot("../../../docs/reference/errors.md");
});

test("every exit status is explained, and every explained one is used", () => {
  const used = new Set(Object.values(registry).flatMap(({ exit }) => (exit === "program" ? [] : [exit])));
  expect([...used].sort()).toEqual(Object.keys(exitStatuses).map(Number));
});
