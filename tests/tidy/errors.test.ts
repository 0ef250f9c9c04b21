// The error registry, the places that use it, and the monitor agree both ways.

import { type ErrorEntry, registry } from "@spore/errors";
import { describe, expect, test } from "vitest";
import { text, written } from "./files.ts";

/** Environment variables look like codes; these are all of them. */
const variables = new Set(
  [...text("packages/cli/src/environment.ts").matchAll(/\[\s*"(SPORE_\w+)"/g)].map((match) => match[1]),
);
const entries = Object.entries<ErrorEntry>(registry);

const sources = written(".ts", ".rs").filter(
  (path) =>
    /^(packages|monitor|kernel|abi|tools|benches)\//.test(path) && path !== "packages/errors/src/registry.ts",
);

function codesIn(path: string): readonly string[] {
  return [...text(path).matchAll(/\bSPORE_[A-Z][A-Z_]*[A-Z]\b/g)].map((match) => match[0]);
}

const shipped = [...sources.filter((path) => !path.includes(".test.ts")), "spore"];

test("every code that is used is in the registry", () => {
  const unknown = shipped.flatMap((path) =>
    codesIn(path)
      .filter((code) => !variables.has(code) && !Object.hasOwn(registry, code))
      .map((code) => `${path}: ${code}`),
  );
  expect(unknown).toEqual([]);
});

test("every code of the registry is used", () => {
  const used = new Set(shipped.flatMap(codesIn));
  expect(entries.map(([code]) => code).filter((code) => !used.has(code))).toEqual([]);
});

describe("the monitor's table says what the registry says", () => {
  const row = /^\s*(SPORE_\w+)\s+(\d+)\s+"((?:\\.|[^"\\])*)"$/gm;
  const table = [...text("monitor/src/error.rs").matchAll(row)];

  test("it is found", () => expect(table.length).toBeGreaterThan(5));

  test.each(
    table.map(([, code, status, next]) => [code, Number(status), next?.replaceAll('\\"', '"')] as const),
  )("%s", (code, status, next) => {
    const entry = entries.find(([name]) => name === code)?.[1];
    expect({ status, next }).toEqual({
      status: entry?.exit === "program" ? 70 : entry?.exit,
      next: entry?.next,
    });
  });
});

test("the launcher's error has the registry's status", () => {
  expect(text("spore")).toContain(`exit ${registry.SPORE_SETUP_FAILED.exit}\n`);
});
