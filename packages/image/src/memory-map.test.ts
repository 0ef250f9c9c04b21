import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import * as map from "./memory-map.ts";

const source = readFileSync(join(import.meta.dirname, "../../../abi/src/layout.rs"), "utf8");
const rust = new Map<string, number>();
for (const [, name = "", expression = ""] of source.matchAll(/^pub const (\w+): u64 = ([^;]+);/gm)) {
  rust.set(name, evaluate(expression));
}

/** The expressions that layout.rs uses: numbers, names, +, <<. */
function evaluate(expression: string): number {
  const [first = "", operator, second = ""] = expression.split(/\s+/);
  const value = (text: string): number => rust.get(text) ?? Number(text.replaceAll("_", ""));
  if (operator === "+") return value(first) + value(second);
  if (operator === "<<") return value(first) * 2 ** value(second);
  return value(first);
}

test.each(Object.entries(map).filter(([, value]) => typeof value === "number"))(
  "%s is what the contract says",
  (name, value) => expect(rust.get(name)).toBe(value),
);
