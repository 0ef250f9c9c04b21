/**
 * The files of an image as the guest sees them: its layers over one another.
 * Symbolic links lead where they lead in the guest, never out of the image.
 */

import { ErofsError, type ImageReader, type ImageStat, openImage as openErofs } from "@spore/erofs";
import { sporeError } from "@spore/errors";
import { damaged } from "./image-file.ts";
import { type LayerSource, layerSource } from "./layer-source.ts";
import type { Image } from "./types.ts";

/** A file, directory or link of an image. */
export interface ViewEntry {
  /** Absolute path, links in its parents followed. */
  readonly path: string;
  readonly stat: ImageStat;
  /** Target, of a symbolic link. */
  readonly target: string | null;
  /** Name of the layer that it comes from (of a directory, the topmost). */
  readonly layer: string;
}

/** The open layers of an image. */
export interface ImageView {
  /** What is at a path; a link is followed unless told not to. Throws SPORE_IMAGE_PATH. */
  find(path: string, follow?: boolean): ViewEntry;
  /** What a directory holds, names in byte order. Throws SPORE_IMAGE_PATH. */
  list(path: string): readonly ViewEntry[];
  /** A file's bytes in pieces. Throws SPORE_IMAGE_PATH. */
  read(path: string): Iterable<Uint8Array>;
  /** Everything below a directory, parents first, and the directory itself. */
  walk(path: string): Iterable<ViewEntry>;
  close(): void;
}

/** As many as Linux follows in one path. */
const MOST_LINKS = 40;
/** Folders within folders, at most. */
const DEEPEST = 128;
const PIECE = 1 << 20;

/** Opens the layers of an image. */
export function viewImage(image: Image): ImageView {
  return new View(image);
}

interface Layer {
  readonly name: string;
  readonly source: LayerSource;
  readonly reader: ImageReader;
}

/** A path and the layers that it is visible in, topmost first; a directory may be in several. */
interface Node {
  readonly path: string;
  readonly stat: ImageStat;
  readonly layers: readonly Layer[];
}

class View implements ImageView {
  readonly #file: string;
  /** Topmost first. */
  readonly #layers: readonly Layer[];

  constructor(image: Image) {
    this.#file = image.path;
    const layers: Layer[] = [];
    this.#layers = layers;
    for (const layer of [...image.layers].reverse()) {
      const source = layerSource(layer);
      try {
        layers.push({ name: layer.name, source, reader: this.#guarded(() => openErofs(source)) });
      } catch (error) {
        source.close();
        this.close();
        throw error;
      }
    }
  }

  find(path: string, follow = true): ViewEntry {
    return this.#entry(this.#find(path, follow));
  }

  list(path: string): readonly ViewEntry[] {
    return this.#children(this.#find(path, true)).map((node) => this.#entry(node));
  }

  *read(path: string): Iterable<Uint8Array> {
    const node = this.#find(path, true);
    if (node.stat.type !== "file") throw pathError(path, `is a ${nameOf(node.stat.type)}, not a file`);
    const [layer] = node.layers;
    for (let at = 0; layer && at < node.stat.size; at += PIECE) {
      yield this.#guarded(() => layer.reader.read(node.path, at, PIECE));
    }
  }

  *walk(path: string): Iterable<ViewEntry> {
    const stack: Node[] = [this.#find(path, true)];
    for (let node = stack.pop(); node; node = stack.pop()) {
      yield this.#entry(node);
      if (node.path.split("/").length > DEEPEST) throw damaged(this.#file, "it is nested too deeply");
      if (node.stat.type === "directory") stack.push(...[...this.#children(node)].reverse());
    }
  }

  close(): void {
    for (const { source } of this.#layers) source.close();
  }

  #entry(node: Node): ViewEntry {
    const { path, stat, layers } = node;
    const target = stat.type === "symlink" ? this.#target(node) : null;
    return { path, stat, target, layer: layers[0]?.name ?? "" };
  }

  #target({ path, layers }: Node): string {
    return this.#guarded(() => layers[0]?.reader.readlink(path) ?? "");
  }

  #find(path: string, follow: boolean): Node {
    let node = this.#root();
    let rest = path.split("/").filter((part) => part !== "" && part !== ".");
    for (let links = 0; rest.length > 0; ) {
      const [name = "", ...after] = rest;
      rest = after;
      if (name === "..") {
        node = this.#find(parentOf(node.path), false);
        continue;
      }
      if (node.stat.type !== "directory") throw pathError(path, "is not there");
      const child = this.#child(node, name);
      if (child === null) throw pathError(path, "is not there");
      if (child.stat.type !== "symlink" || (after.length === 0 && !follow)) {
        node = child;
        continue;
      }
      if (++links > MOST_LINKS) throw pathError(path, "has too many symbolic links");
      const target = this.#target(child);
      rest = [...target.split("/").filter((part) => part !== "" && part !== "."), ...rest];
      if (target.startsWith("/")) node = this.#root();
    }
    return node;
  }

  #root(): Node {
    const [top] = this.#layers;
    if (!top) throw damaged(this.#file, "it has no layers");
    return { path: "/", stat: this.#guarded(() => top.reader.stat("/")), layers: this.#layers };
  }

  #child(directory: Node, name: string): Node | null {
    const path = `${directory.path === "/" ? "" : directory.path}/${name}`;
    let found: { stat: ImageStat; layers: Layer[] } | null = null;
    for (const layer of directory.layers) {
      const stat = this.#statIn(layer, path);
      if (stat === null) continue;
      if (found === null) found = { stat, layers: [layer] };
      else if (stat.type === "directory") found.layers.push(layer);
      // Directories of several layers are one; anything else hides what is below it.
      if (found.stat.type !== "directory" || stat.type !== "directory") break;
    }
    return found && { path, ...found };
  }

  #children(directory: Node): Node[] {
    if (directory.stat.type !== "directory") throw pathError(directory.path, "is not a directory");
    const names = new Set(
      directory.layers.flatMap((layer) => this.#guarded(() => layer.reader.list(directory.path))),
    );
    const sorted = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return sorted.flatMap((name) => this.#child(directory, name) ?? []);
  }

  #statIn(layer: Layer, path: string): ImageStat | null {
    return this.#guarded(() => {
      try {
        return layer.reader.stat(path);
      } catch (error) {
        if (error instanceof ErofsError && error.reason === "not-found") return null;
        throw error;
      }
    });
  }

  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw error instanceof ErofsError ? damaged(this.#file, error.message, error) : error;
    }
  }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

function nameOf(type: ImageStat["type"]): string {
  return type === "other" ? "device, pipe or socket" : type;
}

function pathError(path: string, problem: string): Error {
  return sporeError("SPORE_IMAGE_PATH", { path, problem });
}
