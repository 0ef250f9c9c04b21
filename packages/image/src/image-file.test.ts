import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { SporeError } from "@spore/errors";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeImageFile } from "./build.ts";
import { openImage } from "./image-file.ts";
import { HUGE, PAGE } from "./memory-map.ts";
import { openWorkshop } from "./test-workshop.ts";
import type { Image } from "./types.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());

let image: Image;
let file: string;
beforeAll(async () => {
  const program = workshop.compile(
    "hello",
    'int puts(const char*);int main(void){return puts("x")<0;}',
    "musl-gcc",
    "-static",
  );
  image = (await workshop.build(program)).image;
  file = join(workshop.folder, "hello.spore");
  await writeImageFile(image, file);
});

/** The code that opening a file ends with, or "opened". */
async function outcome(path: string): Promise<string> {
  try {
    await openImage(path, { store: path.startsWith(workshop.store) ? workshop.store : "/nowhere" });
    return "opened";
  } catch (error) {
    if (error instanceof SporeError) return error.code;
    throw error;
  }
}

describe("image file", () => {
  test("what was written is read back, with all blobs inside", async () => {
    const opened = await openImage(file, { store: "/nowhere" });
    const places = ({ path: _path, offset: _offset, ...rest }: Image["kernel"]): unknown => rest;
    expect(opened.program).toEqual(image.program);
    expect(opened.defaults).toEqual(image.defaults);
    expect(places(opened.kernel)).toEqual(places(image.kernel));
    expect(opened.layers.map(places)).toEqual(image.layers.map(places));
    for (const [index, layer] of opened.layers.entries()) {
      const original = image.layers[index];
      expect(layer.path).toBe(file);
      expect(layer.offset % (layer.length >= HUGE ? HUGE : PAGE)).toBe(0);
      const bytes = readFileSync(file).subarray(layer.offset, layer.offset + layer.length);
      expect(bytes.equals(readFileSync(original?.path ?? ""))).toBe(true);
    }
  });

  test("the same image gives the same bytes", async () => {
    const second = join(workshop.folder, "second.spore");
    await writeImageFile(await openImage(file), second);
    expect(readFileSync(second).equals(readFileSync(file))).toBe(true);
  });

  test("a target that is an image is opened as it is", async () => {
    const built = await workshop.build(file);
    expect(built.kind).toBe("image");
    expect(built.reused).toBe(true);
    expect(built.image.program).toEqual(image.program);
  });
});

describe("damage", () => {
  /** Flips a bit of two bytes in three of [from, to) in turn and notes how opening ends. */
  async function flipEach(path: string, from: number, to: number): Promise<Map<string, number>> {
    const seen = new Map<string, number>();
    const fd = openSync(path, "r+");
    const byte = Buffer.alloc(1);
    try {
      for (let at = from; at < to; at += 1 + (at % 3)) {
        readSync(fd, byte, 0, 1, at);
        const flipped = Buffer.from([(byte[0] ?? 0) ^ (1 << (at & 7))]);
        writeSync(fd, flipped, 0, 1, at);
        const code = await outcome(path);
        seen.set(code, (seen.get(code) ?? 0) + 1);
        writeSync(fd, byte, 0, 1, at);
      }
    } finally {
      closeSync(fd);
    }
    return seen;
  }

  function copyOf(name: string, source: string): string {
    const path = join(workshop.folder, name);
    writeFileSync(path, readFileSync(source));
    return path;
  }

  const refusals = ["SPORE_ELF_INVALID", "SPORE_IMAGE_DAMAGED", "SPORE_IMAGE_FORMAT"];

  test("any flipped byte of archive, documents, kernel or layer tables is noticed", {
    timeout: 120_000,
  }, async () => {
    const path = copyOf("flipped.spore", file);
    // Without a store, or what is damaged would be taken from there.
    const opened = await openImage(path, { store: "/nowhere" });
    const padding = readFileSync(path).indexOf("padding/0");
    for (const [from, to] of [
      [0, padding + 512],
      [opened.kernel.offset - 512, opened.kernel.offset],
      [statSync(path).size - 1024, statSync(path).size],
    ] as const) {
      const seen = await flipEach(path, from, to);
      expect(refusals).toEqual(expect.arrayContaining([...seen.keys()]));
    }
    for (const { offset, metadataLength } of [opened.kernel, ...opened.layers]) {
      const step = await flipEach(path, offset, offset + Math.min(metadataLength, 2048));
      expect([...step.keys()]).toEqual(["SPORE_IMAGE_DAMAGED"]);
      const end = await flipEach(path, offset + metadataLength - 64, offset + metadataLength);
      expect([...end.keys()]).toEqual(["SPORE_IMAGE_DAMAGED"]);
    }
    expect(await outcome(path)).toBe("opened");
  });

  test("the same for the documents of an image of the store", async () => {
    const seen = await flipEach(image.path, 1, statSync(image.path).size);
    expect([...seen.keys()]).toEqual(["SPORE_IMAGE_DAMAGED"]);
    expect((await openImage(image.path, { store: workshop.store })).digest).toBe(image.digest);
  });

  test.each([0, 7, 8, 100, 511, 512, PAGE - 1, PAGE, PAGE + 10, -PAGE, -1])(
    "cut to %i bytes",
    async (length) => {
      const path = copyOf(`cut${length}.spore`, file);
      truncateSync(path, length < 0 ? statSync(path).size + length : length);
      expect(["SPORE_IMAGE_DAMAGED", "SPORE_IMAGE_FORMAT"]).toContain(await outcome(path));
    },
  );

  test.each([1, 512])("%i bytes behind the end", async (count) => {
    const path = copyOf(`longer${count}.spore`, file);
    writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(count, 1)]));
    expect(await outcome(path)).toBe("SPORE_IMAGE_DAMAGED");
  });

  test("the message names the part", async () => {
    const path = copyOf("named.spore", file);
    const opened = await openImage(path, { store: "/nowhere" });
    const fd = openSync(path, "r+");
    writeSync(fd, Buffer.from([0xff]), 0, 1, (opened.layers[0]?.offset ?? 0) + 1100);
    closeSync(fd);
    await expect(openImage(path, { store: "/nowhere" })).rejects.toThrow(/layer hello has changed/);
  });
});
