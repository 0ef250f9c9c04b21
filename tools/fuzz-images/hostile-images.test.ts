import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sealed } from "./base-image.ts";
import { corpusFolder } from "./corpus.ts";
import { hostileCases, largeCases } from "./hostile-cases.ts";
import { randomFrom } from "./mutations.ts";
import { digest, generators } from "./targets.ts";

const corpus = readdirSync(corpusFolder).sort();
const refusals = ["SPORE_IMAGE_DAMAGED", "SPORE_IMAGE_FORMAT"];

test("the image that hostile ones are made from is sound", () => {
  expect(digest(sealed())).toEqual({
    open: "accepted",
    launch: "accepted",
    copy: "accepted",
    import: "accepted",
  });
});

test("the corpus is what the cases say (tools/fuzz corpus writes it)", () => {
  expect(corpus).toEqual(
    Object.keys(hostileCases)
      .map((name) => `${name}.tar`)
      .sort(),
  );
  for (const [name, make] of Object.entries(hostileCases)) {
    expect(Buffer.from(make()).equals(readFileSync(join(corpusFolder, `${name}.tar`))), name).toBe(true);
  }
});

describe("refused with a code, nothing written", () => {
  test.each(corpus)("%s", (name) => {
    // What throws anything else, or leaves anything behind, fails in `digest`.
    expect(refusals).toContain(digest(readFileSync(join(corpusFolder, name))).import);
  });

  test.each(Object.entries(largeCases))("%s", (_name, make) => {
    expect(refusals).toContain(digest(make()).open);
  });
});

describe("whatever is changed at random", () => {
  const inputs = corpus.map((name) => readFileSync(join(corpusFolder, name)));
  test.each(Object.entries(generators))("%s", { timeout: 240_000 }, (_name, generate) => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const outcome = digest(generate(randomFrom(seed), [sealed(), ...inputs]));
        expect(outcome.import === "accepted" || refusals.includes(outcome.import)).toBe(true);
      }),
      { numRuns: 400 },
    );
  });
});
