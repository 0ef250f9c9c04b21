/** What the builder's tests share: a folder with a store and a kernel, and ways into an image. */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { buildImage } from "./build.ts";
import { writeTestKernel } from "./test-kernel.ts";
import type { BuildOptions, BuildResult, Image, ProgramLayout } from "./types.ts";

/** A folder for one test file. */
export interface Workshop {
  readonly folder: string;
  readonly store: string;
  /** Builds with this store and kernel. */
  build(target: string, options?: Partial<BuildOptions>): Promise<BuildResult>;
  /** Writes files of a folder; gives its path. */
  project(name: string, files: Readonly<Record<string, string | Uint8Array>>): string;
  /** Compiles a C program; gives its path. */
  compile(name: string, source: string, command: string, ...flags: string[]): string;
  remove(): void;
}

/** Creates one below the temporary directory. */
export function openWorkshop(): Workshop {
  const folder = mkdtempSync(join(tmpdir(), "spore-image-"));
  const store = join(folder, "store");
  const kernel = join(folder, "kernel.a");
  writeTestKernel(kernel);
  return {
    folder,
    store,
    build: (target, options = {}) => buildImage({ target, store, kernel, ...options }),
    project(name, files) {
      const project = join(folder, name);
      for (const [path, content] of Object.entries(files)) {
        mkdirSync(dirname(join(project, path)), { recursive: true });
        writeFileSync(join(project, path), content);
      }
      return project;
    },
    compile(name, source, command, ...flags) {
      const file = join(folder, `${name}.c`);
      writeFileSync(file, source);
      const output = join(folder, name);
      execFileSync(command, ["-O1", "-o", output, file, ...flags], { stdio: "pipe" });
      return output;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Unpacks all layers over one another with Debian's fsck.erofs; gone after the test. */
export function unpack(image: Image): string {
  const folder = mkdtempSync(join(tmpdir(), "spore-unpacked-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const layer of image.layers) {
    execFileSync("fsck.erofs", ["--overwrite", `--extract=${folder}`, layer.path], { stdio: "pipe" });
  }
  return folder;
}

/** Bytes of guest memory as the monitor would set it up: address -> byte, zero where nothing is copied. */
export function memoryReader(image: Image): (address: number, length: number) => Buffer {
  const layers = image.layers.map((layer) =>
    readFileSync(layer.path).subarray(layer.offset, layer.offset + layer.length),
  );
  const { program } = image;
  return (address, length) => {
    const result = Buffer.alloc(length);
    const mapped = copyInto(result, address, program, layers);
    if (mapped !== length)
      throw new Error(`only ${mapped} of ${length} bytes at ${address.toString(16)} are mapped`);
    return result;
  };
}

function copyInto(
  result: Buffer,
  address: number,
  program: ProgramLayout,
  layers: readonly Buffer[],
): number {
  const end = address + result.length;
  let mapped = 0;
  const overlap = (start: number, length: number): [number, number] => [
    Math.max(start, address),
    Math.min(start + length, end),
  ];
  for (const { va, layer, offset, length } of program.shared) {
    const [from, to] = overlap(va, length);
    if (to <= from) continue;
    layers[layer]?.copy(result, from - address, offset + from - va, offset + to - va);
    mapped += to - from;
  }
  for (const region of program.private) {
    const [from, to] = overlap(region.va, region.length);
    if (to <= from) continue;
    mapped += to - from;
    for (const part of region.parts) {
      const [start, stop] = overlap(region.va + part.at, part.length);
      const source = part.offset + start - region.va - part.at;
      if (stop > start) layers[part.layer]?.copy(result, start - address, source, source + stop - start);
    }
  }
  return mapped;
}
