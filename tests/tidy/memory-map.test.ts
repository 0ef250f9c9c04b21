// docs/internals/memory-map.md shows the constants of abi/src/layout.rs.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const read = (path: string): string =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");

function constants(source: string): Map<string, bigint> {
  const values = new Map<string, bigint>();
  for (const [, name, expression] of source.matchAll(/pub const (\w+): u64 = ([^;]+);/g)) {
    if (name === undefined || expression === undefined) continue;
    const terms = expression.split("+").map((term) => {
      const text = term.trim().replaceAll("_", "");
      if (/^(0x[0-9A-Fa-f]+|\d+)$/.test(text)) return BigInt(text);
      const known = values.get(term.trim());
      return known ?? 0n;
    });
    values.set(
      name,
      terms.reduce((sum, term) => sum + term, 0n),
    );
  }
  return values;
}

it("the memory map on paper is the memory map in code", () => {
  const known = constants(read("abi/src/layout.rs"));
  const rows = [...read("docs/internals/memory-map.md").matchAll(/^\| `(\w+)` \| `(0x[0-9a-f]+)` \|/gm)];
  expect(rows.length).toBeGreaterThan(25);
  for (const [, name, address] of rows) {
    expect([name, known.get(name ?? "")]).toEqual([name, BigInt(address ?? "0")]);
  }
});
