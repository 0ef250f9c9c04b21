import { afterAll, expect, test } from "vitest";
import { freshMathRandom } from "./random.ts";

const original = Math.random;
afterAll(() => {
  Math.random = original;
});

function draw(count: number): number[] {
  return Array.from({ length: count }, () => Math.random());
}

test("Math.random comes from the seed from then on, evenly from 0 to 1", () => {
  const seed = freshMathRandom();
  expect(Math.random.length).toBe(0);
  expect(Math.random.name).toBe("random");
  seed("0123456789abcdef".repeat(4));
  const first = draw(100_000);
  seed("0123456789abcdef".repeat(4));
  expect(draw(100)).toEqual(first.slice(0, 100));
  seed("1123456789abcdef".repeat(4));
  expect(draw(100)).not.toEqual(first.slice(0, 100));
  expect(new Set(first).size).toBe(first.length);
  expect(Math.min(...first)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...first)).toBeLessThan(1);
  const shares = Array.from({ length: 16 }, () => 0);
  for (const value of first) shares[Math.floor(value * 16)] = (shares[Math.floor(value * 16)] ?? 0) + 1;
  // 6250 expected in each; seven standard deviations.
  for (const share of shares) expect(Math.abs(share - 6250)).toBeLessThan(7 * 77);
});
