import { expect, test } from "vitest";
import { editDistance, nearest } from "./suggest.ts";

test("finds what was meant", () => {
  expect(nearest("biuld", ["run", "build", "doctor"])).toBe("build");
  expect(nearest("pub", ["publish", "memory"])).toBe("publish");
  expect(nearest("environment", ["env", "env-file"])).toBeUndefined();
});

test("stays silent when nothing is near", () => {
  expect(nearest("frobnicate", ["run", "build", "doctor"])).toBeUndefined();
  expect(nearest("x", ["run"])).toBeUndefined();
});

test("a swap of neighbours is one step", () => {
  expect(editDistance("rnu", "run")).toBe(1);
  expect(editDistance("", "abc")).toBe(3);
  expect(editDistance("abc", "abc")).toBe(0);
});
