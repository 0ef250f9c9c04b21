// `spore run IMAGE` with images that were made to do harm.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openImageSync } from "../../packages/image/src/image-file.ts";
import { storeImage } from "../../packages/image/src/image-writer.ts";
import { launchPlan } from "../../packages/image/src/launch.ts";
import { configText } from "../../packages/image/src/oci.ts";
import { storeAt } from "../../packages/image/src/store.ts";
import type { Image } from "../../packages/image/src/types.ts";
import { mutatedValue, randomFrom } from "../../tools/fuzz-images/mutations.ts";
import { compile, folder } from "../support/programs.ts";
import { root, spore, startSpore } from "../support/spore.ts";

const place = folder();
const corpus = join(root, "tools/fuzz-images/corpus");

test("each of the corpus is refused in one line, before a machine starts", { timeout: 600_000 }, async () => {
  const env = { SPORE_HOME: join(place, "empty") };
  for (const name of readdirSync(corpus)) {
    const { status, stdout, stderr } = await spore(["run", join(corpus, name)], { env });
    expect(stderr, name).toMatch(/^error\[SPORE_(IMAGE_DAMAGED|IMAGE_FORMAT|ELF_INVALID)\]: [^\n]*\n$/);
    expect({ status, stdout }, name).toEqual({ status: 65, stdout: "" });
  }
});

test("whatever an image says of its program, the monitor does not fail", { timeout: 600_000 }, async () => {
  const env = { SPORE_HOME: join(place, "store") };
  const store = storeAt(env.SPORE_HOME);
  const file = join(place, "hello.spore");
  expect(await spore(["build", "-o", file, compile(place, "hello.c", "gcc")], { env })).toMatchObject({
    status: 0,
  });
  const sound = openImageSync(file, store);
  const { program, defaults, user } = sound;
  let tried = 0;
  for (let seed = 0; tried < 40 && seed < 5000; seed++) {
    const changed = mutatedValue({ program, defaults, user }, randomFrom(seed)) as Partial<Image>;
    const path = stored({ ...sound, ...changed }, store);
    if (path === null) continue;
    tried++;
    await using running = startSpore(["run", path], { env });
    // A program that was bent may run for ever; the monitor ends it when it is told to.
    const timer = setTimeout(() => running.signal("SIGKILL"), 5000);
    const { stderr } = await running.ended;
    clearTimeout(timer);
    expect(stderr, `seed ${seed}`).not.toMatch(/SPORE_INTERNAL|SPORE_KERNEL_PANIC|panicked|unexpected:/);
  }
  expect(tried).toBe(40);
});

/** Puts an image into the store as it is; null if it would not be opened. */
function stored(image: Image, store: ReturnType<typeof storeAt>): string | null {
  try {
    configText(image);
    const path = storeImage(image, store);
    launchPlan(openImageSync(path, store));
    return path;
  } catch {
    return null;
  }
}
