import { expect, test } from "vitest";
import { defineConfig } from "./index.ts";

test("defineConfig returns what it was given", () => {
  const config = { memory: "256M", publish: ["8080:80"] };
  expect(defineConfig(config)).toBe(config);
});
