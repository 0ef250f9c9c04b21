/** Files that somebody made to do harm are refused or read, soon, and with the one kind of error. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hostileFiles } from "../test/hostile.ts";
import { readAll } from "../test/read-all.ts";

const corpus = fileURLToPath(new URL("../corpus/", import.meta.url));
const files = Object.entries(hostileFiles);
/** What reading any of them takes is a matter of milliseconds; this is for machines that are busy. */
const PATIENCE_MS = 5_000;

/** The reason of the refusal; "read" without one. */
function outcome(bytes: Uint8Array): string {
  const started = performance.now();
  const reason = readAll(bytes);
  expect(performance.now() - started).toBeLessThan(PATIENCE_MS);
  return reason ?? "read";
}

test("the corpus is what the script makes (tools/fuzz corpus)", () => {
  expect(readdirSync(corpus).sort()).toEqual(files.map(([name]) => `${name}.elf`).sort());
  for (const [name, make] of files) {
    expect([name, Buffer.compare(readFileSync(`${corpus}${name}.elf`), make())]).toEqual([name, 0]);
  }
});

test("each is refused for its reason, or harmless", () => {
  expect(Object.fromEntries(files.map(([name, make]) => [name, outcome(make())]))).toMatchInlineSnapshot(`
    {
      "absurd-program-headers": "truncated",
      "absurd-sections": "out-of-range",
      "dynamic-without-end": "bad-string",
      "frame-covers-everything": "bad-frame",
      "frame-is-its-own-common": "bad-frame",
      "frames-count-too-many": "bad-frame",
      "gnu-hash-buckets-overflow": "bad-symbols",
      "gnu-hash-without-end": "bad-symbols",
      "hash-counts-too-many": "unmapped-address",
      "interpreter-is-a-directory": "read",
      "interpreter-is-no-program": "read",
      "interpreter-is-relative": "read",
      "interpreter-never-ends": "read",
      "needed-beyond-strings": "bad-string",
      "needed-number-overflows": "bad-string",
      "needed-without-end": "bad-string",
      "needed-without-number": "bad-dynamic",
      "needs-a-path-upwards": "read",
      "needs-itself": "read",
      "only-system-calls": "read",
      "sections-name-themselves": "truncated",
      "segment-fills-memory": "read",
      "segment-offset-overflows": "out-of-range",
      "segment-shows-the-file-again": "bad-segment",
      "segment-size-overflows": "truncated",
      "segment-wraps-around": "out-of-range",
      "segments-descend": "segments-overlap",
      "segments-overlap": "segments-overlap",
      "strings-beyond-segment": "bad-dynamic",
      "symbols-overlap-hash": "read",
    }
  `);
});

describe("changed at random", () => {
  const flip = fc.record({ at: fc.nat(), value: fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), run: fc.nat(8) });
  test("they raise ElfError or nothing", () => {
    const samples = files.filter(([name]) => name !== "only-system-calls").map(([, make]) => make());
    fc.assert(
      fc.property(
        fc.constantFrom(...samples),
        fc.array(flip, { minLength: 1, maxLength: 6 }),
        fc.nat(),
        (sample, flips, cut) => {
          const copy = sample.slice(0, cut % 5 === 0 ? cut % (sample.length + 1) : sample.length);
          for (const { at, value, run } of flips)
            copy.fill(value, at % (copy.length + 1), (at % (copy.length + 1)) + run);
          outcome(copy);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
