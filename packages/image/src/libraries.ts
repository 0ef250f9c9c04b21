/**
 * Which shared libraries a program loads, found as its own dynamic linker
 * would find them on this host: DT_RPATH of the object and of those that
 * loaded it (unless DT_RUNPATH is there), DT_RUNPATH, the library cache, the
 * default directories. LD_LIBRARY_PATH plays no part: it is not in the image.
 */

import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { type DynamicInfo, readDynamic, readDynamicSymbols } from "@spore/elf";
import { SporeError, sporeError } from "@spore/errors";
import type { Inputs } from "./build-record.ts";
import { looksLikeElf, readStart } from "./host-file.ts";
import { readLibraryCache } from "./library-cache.ts";
import { guarded, parseFor, readBinary } from "./program-file.ts";

/** A library that goes into the image. */
export interface Library {
  /** Name under which it is asked for. */
  readonly name: string;
  /** Path as the dynamic linker opens it, on the host and in the guest alike. */
  readonly path: string;
  /** Its bytes on the host, if an included file stands in for it. */
  readonly source: string;
  /** Who asked for it. */
  readonly neededBy: string;
  /** How it was found. */
  readonly how: string;
}

/** The C library of a program: they search differently. */
export type LibraryFamily = "glibc" | "musl";

/** Where to look. */
export interface LibrarySearch {
  readonly family: LibraryFamily;
  readonly inputs: Inputs;
  /** Included files: guest path to host path. */
  readonly included: ReadonlyMap<string, string>;
}

interface LoadedObject {
  /** For error texts. */
  readonly label: string;
  /** Directory that $ORIGIN stands for. */
  readonly origin: string;
  readonly dynamic: DynamicInfo;
  readonly loader: LoadedObject | null;
}

const GLIBC_DIRECTORIES = [
  "/lib/x86_64-linux-gnu",
  "/usr/lib/x86_64-linux-gnu",
  "/lib64",
  "/usr/lib64",
  "/lib",
  "/usr/lib",
];
const MUSL_DIRECTORIES = ["/lib", "/usr/local/lib", "/usr/lib"];
/** Names that musl's linker answers itself. */
const MUSL_BUILT_IN = /^lib(c|pthread|rt|m|dl|util|xnet|c\.musl-x86_64)\.(so|so\.1)$/;

/** Finds all libraries of the roots (the program, add-ons); each once. */
export class LibraryFinder {
  readonly #search: LibrarySearch;
  readonly #byName: Map<string, Library> = new Map();
  readonly #directories: readonly string[];
  #cache: Map<string, string> | null = null;

  constructor(search: LibrarySearch) {
    this.#search = search;
    this.#directories = search.family === "glibc" ? GLIBC_DIRECTORIES : muslDirectories(search.inputs);
  }

  /** Everything found so far, in the order of loading. */
  get libraries(): readonly Library[] {
    return [...this.#byName.values()];
  }

  /** Takes an object as there already: its names are not looked for. */
  provide(name: string, path: string): void {
    this.#byName.set(name, { name, path, source: path, neededBy: "", how: "the interpreter" });
  }

  /** Follows the needs of a program or add-on; throws SPORE_LIBRARY_MISSING. */
  follow(path: string): void {
    this.#follow(path, (program, library) => {
      throw sporeError("SPORE_LIBRARY_MISSING", { program, library });
    });
  }

  /**
   * Follows the needs of a file that came along with a folder. It may be for other systems, or
   * damaged, and never be used: what is missing is missed when something asks for it.
   */
  followIncluded(path: string): void {
    if (!isLibrary(path)) return;
    try {
      this.#follow(path, () => {});
    } catch (error) {
      if (!(error instanceof SporeError)) throw error;
    }
  }

  #follow(path: string, missing: (program: string, library: string) => void): void {
    const root = this.#object(path, realpathSync(path), null);
    if (!root) return;
    const queue = [root];
    for (let object = queue.shift(); object; object = queue.shift()) {
      for (const name of object.dynamic.needed) {
        if (this.#byName.has(name) || this.#builtIn(name)) continue;
        const found = this.#find(name, object);
        if (!found) {
          missing(object.label, name);
          continue;
        }
        this.#byName.set(name, found);
        const loaded = this.#object(found.path, found.source, object);
        if (loaded) queue.push(loaded);
      }
    }
  }

  /** Adds a library that is opened at run time, if the host has it beside `neighbour`. */
  optional(name: string, neighbour: string, why: string): void {
    if (this.#byName.has(name)) return;
    const path = join(dirname(neighbour), name);
    this.#search.inputs.add(path);
    if (!existsSync(path)) return;
    this.#byName.set(name, { name, path, source: path, neededBy: basename(neighbour), how: why });
    this.follow(path);
  }

  #builtIn(name: string): boolean {
    return this.#search.family === "musl" && MUSL_BUILT_IN.test(name);
  }

  #object(path: string, source: string, loader: LoadedObject | null): LoadedObject | null {
    const elf = parseFor(path, readBinary(source));
    const dynamic = guarded(path, () => readDynamic(elf));
    if (!dynamic) return null;
    const origin = dirname(loader === null ? source : path);
    if (dynamic.soname !== undefined && loader !== null && !this.#byName.has(dynamic.soname)) {
      const how = "the name it gives itself";
      this.#byName.set(dynamic.soname, { name: dynamic.soname, path, source, neededBy: loader.label, how });
    }
    return { label: path, origin, dynamic, loader };
  }

  #find(name: string, object: LoadedObject): Library | null {
    const neededBy = object.label;
    for (const [guest, host] of this.#search.included) {
      if (basename(guest) === name) return { name, path: guest, source: host, neededBy, how: "included" };
    }
    for (const [path, how] of this.#candidates(name, object)) {
      this.#search.inputs.add(path);
      if (isLibrary(path)) return { name, path, source: path, neededBy, how };
    }
    return null;
  }

  *#candidates(name: string, object: LoadedObject): Iterable<[path: string, how: string]> {
    if (name.includes("/")) {
      yield [resolve("/", expand(name, object.origin)), "its own path"];
      return;
    }
    const musl = this.#search.family === "musl";
    const withRunpath = object.dynamic.runpath.length > 0;
    if (musl || !withRunpath) {
      for (let each: LoadedObject | null = object; each; each = each.loader) {
        const { rpath, runpath } = each.dynamic;
        const own = runpath.length > 0 ? (musl ? runpath : []) : rpath;
        for (const directory of own) {
          yield [resolve("/", expand(directory, each.origin), name), `RPATH of ${basename(each.label)}`];
        }
      }
    }
    if (withRunpath && !musl) {
      for (const directory of object.dynamic.runpath) {
        yield [resolve("/", expand(directory, object.origin), name), `RUNPATH of ${basename(object.label)}`];
      }
    }
    const cached = musl ? undefined : this.#cached().get(name);
    if (cached !== undefined) yield [cached, "the host's library cache"];
    for (const directory of this.#directories) yield [join(directory, name), "a default directory"];
  }

  #cached(): Map<string, string> {
    if (this.#cache) return this.#cache;
    const path = "/etc/ld.so.cache";
    this.#search.inputs.add(path);
    this.#cache = existsSync(path) ? readLibraryCache(readFileSync(path)) : new Map();
    return this.#cache;
  }
}

/** True if this libc looks names up without opening more libraries (glibc 2.34 and later, musl). */
export function hasBuiltInLookups(libc: string): boolean {
  const elf = parseFor(libc, readBinary(libc));
  return guarded(libc, () => readDynamicSymbols(elf)?.find("_nss_dns_gethostbyname4_r")) !== undefined;
}

/** $ORIGIN, $LIB and $PLATFORM, with or without braces. */
function expand(text: string, origin: string): string {
  return text
    .replace(/\$(ORIGIN|\{ORIGIN\})/g, origin)
    .replace(/\$(LIB|\{LIB\})/g, "lib/x86_64-linux-gnu")
    .replace(/\$(PLATFORM|\{PLATFORM\})/g, "x86_64");
}

/** Files for other machines are passed over, as ld.so does. */
function isLibrary(path: string): boolean {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
  const bytes = readStart(path, 20);
  return looksLikeElf(bytes) && bytes[4] === 2 && bytes[18] === 62 && bytes[19] === 0;
}

function muslDirectories(inputs: Inputs): readonly string[] {
  const path = "/etc/ld-musl-x86_64.path";
  inputs.add(path);
  if (!existsSync(path)) return MUSL_DIRECTORIES;
  const directories = readFileSync(path, "utf8")
    .split(/[:\n]/)
    .filter((each) => each.startsWith("/"));
  return directories.length > 0 ? directories : MUSL_DIRECTORIES;
}
