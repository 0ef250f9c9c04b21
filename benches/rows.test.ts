import { expect, test } from "vitest";
import { allowed } from "./machine.ts";
import { row, spread } from "./rows.ts";
import { table } from "./table.ts";

test("a spread is minimum, median and 99th percentile", () => {
  const samples = Array.from({ length: 200 }, (_, index) => 200 - index);
  expect(spread(samples)).toEqual({ min: 1, p50: 101, p99: 199 });
  expect(spread([7])).toEqual({ min: 7, p50: 7, p99: 7 });
  expect(() => spread([])).toThrow();
});

test("a ratio compares medians, and there is none to nothing", () => {
  const place = { bench: "b", case: "c", unit: "ms" };
  expect(row(place, spread([1, 3, 9]), spread([2])).ratio).toBe(1.5);
  expect(row(place, spread([1]), spread([0])).ratio).toBeNull();
});

test("a table has its columns under each other", () => {
  const place = { bench: "boot", case: "static hello", unit: "ms" };
  const [head = "", line = ""] = table([row(place, spread([4.25]), spread([0.5]))]).split("\n");
  expect(line).toMatch(/^boot {3}static hello {2}ms .* 4\.25 .* 0\.50 .* 8\.50$/);
  expect(head.length).toBe(line.length);
});

test("processors come as ranges", () => {
  expect(allowed("Name:\tx\nCpus_allowed_list:\t0-2,5\n")).toEqual([0, 1, 2, 5]);
});
