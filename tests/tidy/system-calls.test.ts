// One table says which system calls exist: its page and the crash report follow it.

import { expect, test } from "vitest";
import { systemCalls } from "../../packages/needs/src/generated/system-calls.ts";
import { text } from "./files.ts";
import { systemCallReference, systemCallRows } from "./system-call-table.ts";

const rows = systemCallRows();

test("every row is read, and no number twice", () => {
  const lines = text("kernel/src/syscall/table.rs").split("\n");
  expect(rows.length).toBe(lines.filter((line) => /^\s*\d+ \w+\(/.test(line)).length);
  expect(rows.length).toBeGreaterThan(0);
  expect(new Set(rows.map(({ number }) => number)).size).toBe(rows.length);
});

test("docs/reference/syscalls.md is what the table says (vitest -u writes it)", async () => {
  await expect(systemCallReference(rows)).toMatchFileSnapshot("../../docs/reference/syscalls.md");
});

test("crash reports and needs know the same calls, by number, name and number of arguments", () => {
  const known = new Map(systemCalls.map(([number, name, arity]) => [number, { name, arity }]));
  const different = rows.filter(({ number, name, parameters }) => {
    const call = known.get(number);
    // A row need not name arguments that nothing looks at.
    return call?.name !== name || call.arity < parameters.length;
  });
  expect(different.map(({ number, name, parameters }) => `${number} ${name}/${parameters.length}`)).toEqual(
    [],
  );
});
