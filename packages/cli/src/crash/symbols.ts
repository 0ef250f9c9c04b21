/** From an address of the guest to symbol, offset and file, by what the image holds. */

import { closeSync, openSync, readSync } from "node:fs";
import { type ElfFile, parseElf, readSymbols, type SymbolTable } from "@spore/elf";
import { type ImageReader, openImage } from "@spore/erofs";
import type { KernelPlace, Layer, Module } from "./crash.ts";
import { demangle } from "./demangle.ts";
import { KernelSymbols } from "./kernel-symbols.ts";

/** Where an address lies. */
export interface Place {
  readonly module: string;
  /** "main+0x16"; undefined if no symbol covers it. */
  readonly symbol: string | undefined;
  /** Offset in the file. */
  readonly offset: bigint;
}

interface Binary {
  readonly elf: ElfFile;
  readonly symbols: SymbolTable | undefined;
}

/** Reads symbols of the modules of one crash, each file once. */
export class Symbolizer {
  readonly #modules: readonly Module[];
  readonly #layers: readonly Layer[];
  readonly #binaries = new Map<string, Binary | undefined>();
  readonly #kernel: KernelSymbols | undefined;

  constructor(modules: readonly Module[], layers: readonly Layer[], kernel?: KernelPlace) {
    this.#kernel = kernel && new KernelSymbols(kernel);
    this.#modules = modules;
    this.#layers = layers;
  }

  /**
   * Where an address lies; undefined outside of all files. A return address
   * stands behind its call, maybe in the next function: it is looked up one
   * byte before.
   */
  place(address: bigint, kind: "exact" | "return" = "exact"): Place | undefined {
    const module = this.#modules.find(({ start, end }) => start <= address && address < end);
    if (module === undefined && this.#kernel?.has(address)) {
      const start = this.#kernel.place.start;
      return { module: "the library OS", symbol: this.#kernel.name(address, kind), offset: address - start };
    }
    if (module === undefined) return undefined;
    const offset = address - module.start + BigInt(Math.trunc(module.fileOffset));
    const symbol = this.#symbol(module.path, Number(offset), kind === "return" ? 1 : 0);
    return { module: module.path, symbol, offset };
  }

  #symbol(path: string, offset: number, before: number): string | undefined {
    const binary = this.#binary(path);
    const load = binary?.elf.loads.find(
      (each) => each.offset <= offset && offset < each.offset + each.fileSize,
    );
    if (binary === undefined || load === undefined) return undefined;
    try {
      const hit = binary.symbols?.lookup(offset - load.offset + load.vaddr - before);
      return hit && hit.symbol.name !== ""
        ? `${demangle(hit.symbol.name)}+0x${(hit.offset + before).toString(16)}`
        : undefined;
    } catch {
      // A damaged symbol table costs the name, not the report.
      return undefined;
    }
  }

  #binary(path: string): Binary | undefined {
    if (!this.#binaries.has(path)) this.#binaries.set(path, this.#load(path));
    return this.#binaries.get(path);
  }

  #load(path: string): Binary | undefined {
    // The uppermost layer that has the file wins, as in the guest.
    for (const layer of [...this.#layers].reverse()) {
      const bytes = readFromLayer(layer, path);
      if (bytes === undefined) continue;
      try {
        const elf = parseElf(bytes);
        return { elf, symbols: readSymbols(elf) };
      } catch {
        // Not an ELF file, or a damaged one: no symbols then.
        return undefined;
      }
    }
    return undefined;
  }
}

/** The bytes of a file of a layer; undefined if the layer has none or cannot be read. */
function readFromLayer(layer: Layer, path: string): Uint8Array | undefined {
  let descriptor: number | undefined;
  try {
    const opened = openSync(layer.path, "r");
    descriptor = opened;
    const image = openImage({
      size: layer.length,
      read: (offset, length) => {
        const bytes = new Uint8Array(length);
        const got = readSync(opened, bytes, 0, length, layer.offset + offset);
        return bytes.subarray(0, got);
      },
    });
    return image.read(followLinks(image, path));
  } catch {
    // Another layer may have it; without any the report goes without symbols.
    return undefined;
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** The path with symbolic links followed inside one layer. */
function followLinks(image: ImageReader, path: string): string {
  let resolved = "";
  let rest = path.split("/").filter(Boolean);
  for (let steps = 0; rest.length > 0 && steps < 256; steps++) {
    const [first = "", ...others] = rest;
    const next = `${resolved}/${first}`;
    if (image.stat(next).type !== "symlink") {
      resolved = next;
      rest = others;
      continue;
    }
    const target = image
      .readlink(next)
      .split("/")
      .filter((part) => part !== "" && part !== ".");
    if (image.readlink(next).startsWith("/")) resolved = "";
    rest = [...target, ...others];
    while (rest[0] === "..") {
      resolved = resolved.slice(0, Math.max(resolved.lastIndexOf("/"), 0));
      rest = rest.slice(1);
    }
  }
  return resolved;
}
