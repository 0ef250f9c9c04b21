/** Programs that somebody made to do harm: one line with a code, and no image. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SporeError } from "@spore/errors";
import { afterAll, expect, test } from "vitest";
import { openWorkshop } from "./test-workshop.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());
const corpus = fileURLToPath(new URL("../../elf/corpus/", import.meta.url));

/** The code of the refusal and what it says of the file. */
async function refusal(name: string): Promise<string> {
  try {
    await workshop.build(join(corpus, name));
    return "built";
  } catch (error) {
    if (!(error instanceof SporeError)) throw error;
    return error.code;
  }
}

test("hostile programs are refused, and nothing is left of them", async () => {
  const outcomes: [string, string][] = [];
  for (const name of readdirSync(corpus).sort()) outcomes.push([name, await refusal(name)]);
  const built = outcomes.filter(([, code]) => code === "built").map(([name]) => name);
  // It is a program: one with nothing but system calls in it.
  expect(built).toEqual(["only-system-calls.elf"]);
  const others = outcomes.filter(([, code]) => code !== "built" && code !== "SPORE_ELF_INVALID");
  expect(others).toEqual([]);
  const folder = join(workshop.folder, "store");
  expect(readdirSync(join(folder, "tmp"))).toEqual([]);
  expect(readdirSync(join(folder, "builds"))).toHaveLength(1);
});
