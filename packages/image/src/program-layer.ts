/**
 * A layer with a program, its interpreter and its libraries, and the layout in
 * memory that follows from where they lie in it.
 */

import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { type ElfFile, FileType, parseElf, SegmentType, segmentOfType } from "@spore/elf";
import { sporeError } from "@spore/errors";
import { addBaseFiles } from "./base-files.ts";
import type { Inputs } from "./build-record.ts";
import { GuestTree, type LayerObject } from "./guest-tree.ts";
import { readable } from "./host-file.ts";
import { type BuiltLayer, buildLayer } from "./layer.ts";
import { type LoadedFile, planMemory, wantedRanges } from "./layout.ts";
import { hasBuiltInLookups, type Library, LibraryFinder } from "./libraries.ts";
import { writeLibraryCache } from "./library-cache.ts";
import { alignUp, HUGE, INTERP_BASE, PAGE, PIE_BASE } from "./memory-map.ts";
import type { Patcher } from "./patcher.ts";
import {
  checkExtent,
  checkProgram,
  guarded,
  interpreterOf,
  loadSegments,
  readBinary,
} from "./program-file.ts";
import type { Store } from "./store.ts";
import { addTimeZones } from "./time-zones.ts";
import type { Blob, BlobPlace, Decision, Include, ProgramLayout } from "./types.ts";

/** What is put into the layer. */
export interface ProgramRequest {
  /** The program on the host. */
  readonly host: string;
  /** Its path in the guest; "" = as on the host. */
  readonly guest: string;
  /** Name of the layer, for people. */
  readonly name: string;
  readonly include: readonly Include[];
  /** Files made by the builder, by guest path. */
  readonly texts?: readonly (readonly [path: string, text: string])[];
  /** False: without the directories and files that every program may expect. Default true. */
  readonly base?: boolean;
  /** True: with the host's time zones, if something in it names them. */
  readonly zones?: boolean;
}

/** A program layer and what is needed to run from it. */
export interface ProgramLayer {
  readonly blob: Blob & BlobPlace;
  readonly program: ProgramLayout;
  /** Libraries in the layer by name, to which another layer may add. */
  readonly libraries: readonly (readonly [name: string, path: string])[];
  /** Everything in it that may make system calls. */
  readonly objects: readonly LayerObject[];
}

/** A file that is loaded at the start: the program or its interpreter. */
interface Loadable {
  /** Guest path, symlinks resolved. */
  readonly path: string;
  /** Guest path by which it is asked for. */
  readonly named: string;
  readonly elf: ElfFile;
  readonly bias: number;
  readonly size: number;
}

/** Builds the layer and lays the program out. */
export function buildProgramLayer(
  request: ProgramRequest,
  store: Store,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): ProgramLayer {
  const tree = new GuestTree();
  if (request.base ?? true) addBaseFiles(tree, inputs, decisions);
  inputs.add(request.host);
  const program = addProgram(tree, request, patcher);
  const interpreter = addInterpreter(tree, request, program.elf, patcher, inputs, decisions);
  const libraries = addLibraries(tree, request, interpreter, patcher, inputs, decisions);
  for (const { host, guest } of request.include) graft(tree, host, guest, inputs, decisions);
  for (const [path, text] of request.texts ?? []) tree.text(path, text);
  if (request.zones) addTimeZones(tree, inputs, decisions);
  const layer = buildLayer(request.name, tree, store);
  decisions.push({
    topic: "layer",
    what: `${request.name}: ${(layer.blob.length / 2 ** 20).toFixed(1)} MiB`,
    why: "holds the program, its libraries and base files",
  });
  return {
    blob: layer.blob,
    program: layOut(layer, program, interpreter),
    libraries,
    objects: tree.objects(),
  };
}

/** Adds an included file or tree. */
export function graft(
  tree: GuestTree,
  host: string,
  guest: string,
  inputs: Inputs,
  decisions: Decision[],
): void {
  readable(host, () => {
    const stat = statSync(host, { throwIfNoEntry: false });
    if (!stat) throw sporeError("SPORE_INCLUDE_NOT_FOUND", { path: host });
    if (!stat.isDirectory() && tree.find(guest)?.type === "directory") {
      const problem = `--include: the file ${host} cannot take the place of the directory ${guest}`;
      throw sporeError("SPORE_USAGE", { problem, command: "run" });
    }
    tree.graft(host, guest, (path) => inputs.add(path));
  });
  decisions.push({ topic: "include", what: `${host} at ${guest}`, why: "asked for" });
}

function addProgram(tree: GuestTree, request: ProgramRequest, patcher: Patcher): Loadable {
  const { host } = request;
  const original = readBinary(host);
  checkProgram(host, original);
  const named = request.guest === "" ? host : request.guest;
  const patched = patcher.patch(host, request.guest || realpathSync(host), original);
  const bytes = patched ?? original;
  const elf = guarded(host, () => parseElf(bytes));
  const bias = programBias(host, elf);
  const size = bytes.length;
  const placement = wantedRanges(loadSegments(elf), bias, size);
  const source = patched ? { bytes: patched, original: host } : { host: realpathSync(host), size };
  const path =
    request.guest === ""
      ? tree.hostFile(host, source, placement)
      : tree.file(request.guest, source, 0o755, placement);
  return { path, named, elf, bias, size };
}

/** ET_EXEC stands where it was linked; anything else moves to PIE_BASE. */
function programBias(path: string, elf: ElfFile): number {
  const lowest = elf.loads[0]?.vaddr ?? 0;
  const last = elf.loads.at(-1);
  const highest = last ? last.vaddr + last.memorySize : 0;
  if (elf.header.type !== FileType.executable) {
    const align = Math.max(PAGE, ...elf.loads.map((load) => load.align));
    return alignUp(PIE_BASE, align) - (lowest - (lowest % PAGE));
  }
  // The first frame stays unmapped, so that null pointers fault.
  if (lowest < HUGE) throw misplaced(path, "it is linked to an address below 2 MiB");
  if (highest > PIE_BASE) throw misplaced(path, "it is linked to an address that is not free in the guest");
  return 0;
}

function addInterpreter(
  tree: GuestTree,
  request: ProgramRequest,
  elf: ElfFile,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): Loadable | null {
  const named = interpreterOf(request.host, elf);
  if (named === undefined) {
    decisions.push({ topic: "interpreter", what: "none", why: "the program is linked statically" });
    return null;
  }
  const included = request.include.find((each) => each.guest === named);
  if (!named.startsWith("/")) {
    const problem = `its interpreter "${named}" is not an absolute path`;
    throw sporeError("SPORE_ELF_INVALID", { file: request.host, problem });
  }
  const host = included?.host ?? named;
  inputs.add(host);
  if (!existsSync(host)) {
    throw sporeError("SPORE_INTERPRETER_MISSING", { program: request.host, interpreter: named });
  }
  const original = readBinary(host);
  guarded(host, () => checkExtent(host, parseElf(original)));
  const bytes = patcher.patch(host, included ? named : realpathSync(host), original) ?? original;
  const path = included
    ? tree.file(named, { bytes, original: host }, 0o755)
    : tree.hostFile(named, { bytes });
  decisions.push({ topic: "interpreter", what: named, why: "the program names it (PT_INTERP)" });
  const interpreter = guarded(host, () => parseElf(bytes));
  return { path, named, elf: interpreter, bias: INTERP_BASE, size: bytes.length };
}

function addLibraries(
  tree: GuestTree,
  request: ProgramRequest,
  interpreter: Loadable | null,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): (readonly [string, string])[] {
  if (!interpreter) return [];
  const linker = basename(interpreter.named);
  const musl = linker.startsWith("ld-musl");
  const included = includedFiles(request.include);
  const finder = new LibraryFinder({ family: musl ? "musl" : "glibc", inputs, included });
  if (!musl) finder.provide(linker, interpreter.named);
  finder.follow(request.host);
  for (const [guest, host] of included) {
    if (MAY_BE_ELF.test(basename(guest))) finder.followIncluded(host);
  }
  const libc = finder.libraries.find((library) => library.name === "libc.so.6");
  if (libc) addOpenedAtRunTime(finder, libc);
  const result: [string, string][] = [];
  for (const library of finder.libraries) {
    result.push([library.name, library.path]);
    if (library.neededBy === "" || included.has(library.path)) continue;
    addLibrary(tree, library, patcher, inputs, decisions);
  }
  if (!musl) tree.file("/etc/ld.so.cache", { bytes: writeLibraryCache(new Map(result)) });
  return result;
}

/** Names of shared libraries, and of programs: they have no ending. */
const MAY_BE_ELF = /\.so(\.[\d.]+)?$|\.node$|^[^.]+$/;

/** Included files and the files of included folders: guest path to host path. */
function includedFiles(include: readonly Include[]): Map<string, string> {
  const result = new Map<string, string>();
  for (const { host, guest } of include) {
    const stat = readable(host, () => statSync(host, { throwIfNoEntry: false }));
    if (stat?.isFile()) result.set(guest, host);
    if (!stat?.isDirectory()) continue;
    // In one order, whatever the host's: the first of a name wins.
    for (const path of filesBelow(host)) result.set(join(guest, relative(host, path)), path);
  }
  return result;
}

/** Files of a folder, and links to files, sorted. Links to folders stay links in the image: they may lead in a circle. */
function filesBelow(folder: string): string[] {
  return readable(folder, () => readdirSync(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter(isFile)
    .sort();
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    // A link to nothing, or to itself.
    return false;
  }
}

/** What glibc opens by name while a program runs. */
function addOpenedAtRunTime(finder: LibraryFinder, libc: Library): void {
  finder.optional("libgcc_s.so.1", libc.path, "glibc opens it to end and unwind threads");
  if (hasBuiltInLookups(libc.source)) return;
  for (const name of ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"]) {
    finder.optional(name, libc.path, "glibc before 2.34 opens it to look up names");
  }
}

/** Adds one library at its own path. */
export function addLibrary(
  tree: GuestTree,
  library: Library,
  patcher: Patcher,
  inputs: Inputs,
  decisions: Decision[],
): void {
  inputs.add(library.source);
  const bytes = patcher.patch(library.source, realpathSync(library.path));
  tree.hostFile(library.path, bytes && { bytes });
  decisions.push({
    topic: "library",
    what: library.path,
    why: `${library.neededBy} needs it; ${library.how}`,
  });
}

/** Where program and interpreter stand in memory. */
function layOut(layer: BuiltLayer, program: Loadable, interpreter: Loadable | null): ProgramLayout {
  const load = ({ path, elf, bias, size }: Loadable): LoadedFile => {
    const ranges = layer.plan.rangesOf(path);
    return { path, segments: loadSegments(elf), bias, size, layer: 0, ranges };
  };
  const plan = planMemory(interpreter ? [load(program), load(interpreter)] : [load(program)]);
  const entry = program.bias + program.elf.header.entry;
  return {
    path: program.path,
    startRip: interpreter ? interpreter.bias + interpreter.elf.header.entry : entry,
    entry,
    phdr: headersAddress(program),
    phnum: program.elf.header.programHeaderCount,
    interpBase: interpreter?.bias ?? 0,
    brkStart: plan.end,
    mappings: plan.mappings,
    shared: plan.shared,
    private: plan.private,
  };
}

/** AT_PHDR: PT_PHDR, or the segment that holds the table; 0 if none does. */
function headersAddress({ elf, bias }: Loadable): number {
  const own = segmentOfType(elf, SegmentType.phdr);
  if (own) return bias + own.vaddr;
  const at = elf.header.programHeaderOffset;
  const holder = elf.loads.find((load) => at >= load.offset && at < load.offset + load.fileSize);
  return holder ? bias + holder.vaddr + at - holder.offset : 0;
}

function misplaced(file: string, problem: string): Error {
  return sporeError("SPORE_ELF_INVALID", { file, problem });
}
