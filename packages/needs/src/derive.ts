/** From what the objects of an image show, and the profile of its runtime, to what the app needs. */

import { callName } from "./calls.ts";
import { Collection } from "./collection.ts";
import { serviceOfFamily } from "./families.ts";
import type { GraphNode } from "./graph.ts";
import type { Profile } from "./profile.ts";
import type { Passed, Summary } from "./summary.ts";
import type { Needs, Reason, SiteCount } from "./types.ts";

/** A program, library or add-on of the image. */
export interface AppObject {
  /** Guest path. */
  readonly path: string;
  readonly summary: Summary;
  /** Number of its system-call instructions that were turned into jumps. */
  readonly patched: number;
}

/** Calls that name a file, so that it may be one of the library OS: open, stat, readlink and their like. */
const PATH_CALLS: ReadonlySet<number> = new Set([2, 4, 6, 21, 85, 89, 257, 262, 267, 269, 332, 437, 439]);

/** What the C libraries among the objects take from their callers. */
export function passedArguments(objects: readonly Summary[]): Record<string, Passed> {
  return Object.assign({}, ...objects.filter(isLibrary).map(({ passed }) => passed));
}

/** Derives the needs of an app. */
export function deriveNeeds(objects: readonly AppObject[], profiles: readonly Profile[]): Needs {
  const collection = new Collection();
  for (const object of objects) addOwnUses(collection, object);
  for (const object of objects) {
    if (!object.summary.graph) continue;
    if (isLibrary(object.summary)) new Reach(collection, object, objects).run();
    else addWhole(collection, object);
  }
  for (const profile of profiles) addProfile(collection, profile);
  collection.settle();
  addOpenedFiles(collection);
  return collection.needs("derived", objects.flatMap(siteCount));
}

function siteCount({ path, summary, patched }: AppObject): SiteCount[] {
  return summary.sites === 0 ? [] : [{ object: path, sites: summary.sites, patched }];
}

/** Something that others import from: which of its functions matter depends on them. */
function isLibrary({ graph, passed }: Summary): boolean {
  return graph !== null && Object.values(passed).some(({ what }) => what === "call");
}

/** Calls and sockets of an object that has no graph. */
function addOwnUses(collection: Collection, { path, summary }: AppObject): void {
  for (const { number, address, symbol, forOthers } of summary.calls) {
    addCall(collection, path, [number, address, forOthers], symbol);
  }
  for (const family of summary.families)
    addFamily(collection, family, { kind: "unknown", object: path, why: FAMILY });
  for (const text of summary.texts) collection.service(`file${text}`, { kind: "text", object: path, text });
}

/** A call at an instruction. */
function addCall(
  collection: Collection,
  object: string,
  [number, address, forOthers]: GraphNode["calls"][number],
  symbol: string,
): void {
  const by: Reason = { kind: "callSite", object, address, symbol };
  if (number === null) collection.unknown(unknownCall(object, address, symbol));
  else if (forOthers) collection.callForOthers(number, by);
  else collection.call(number, by);
}

const FAMILY = "it opens sockets";

function addFamily(collection: Collection, family: number | null, reason: Reason): void {
  const name = family === null ? "socket/*" : serviceOfFamily(family);
  if (name !== undefined) collection.service(name, reason);
}

function unknownCall(object: string, address: number, symbol: string): Reason {
  const place = `${symbol === "" ? "a function" : symbol} at 0x${address.toString(16)}`;
  return { kind: "unknown", object, why: `the number of a system call in ${place} is not in the code` };
}

/** A dynamic linker or a static program: what its entry point leads to, or everything. */
function addWhole(collection: Collection, object: AppObject): void {
  const { graph } = object.summary;
  if (!graph) return;
  const isLinker = Object.keys(graph.exports).length > 0;
  const start = isLinker ? graph.nodes.map((_, index) => index) : graph.roots;
  for (const index of reachable(graph.nodes, start)) {
    const node = graph.nodes[index];
    if (node) addNode(collection, object.path, node);
  }
}

/** What a node of a static program or a dynamic linker does. */
function addNode(collection: Collection, object: string, node: GraphNode): void {
  const symbol = node.name;
  for (const call of node.calls) addCall(collection, object, call, symbol);
  for (const family of node.families) {
    addFamily(collection, family, { kind: "callSite", object, address: node.address, symbol });
  }
  for (const text of node.texts) collection.service(`file${text}`, { kind: "text", object, text });
}

/** All nodes that some lead to, those included. */
function reachable(nodes: readonly GraphNode[], start: Iterable<number>): Set<number> {
  const seen = new Set<number>(start);
  const queue = [...seen];
  for (let index = queue.pop(); index !== undefined; index = queue.pop()) {
    for (const next of nodes[index]?.to ?? []) {
      if (seen.has(next)) continue;
      seen.add(next);
      queue.push(next);
    }
  }
  return seen;
}

/** Who enters a library where. */
interface Entrance {
  readonly object: string;
  readonly symbol: string;
}

/** What a C library does for the symbols that the other objects import. */
class Reach {
  readonly #collection: Collection;
  readonly #library: AppObject;
  readonly #nodes: readonly GraphNode[];
  readonly #entrances = new Map<number, Entrance[]>();
  readonly #from = new Map<number, number[]>();
  readonly #reached: ReadonlySet<number>;

  constructor(collection: Collection, library: AppObject, objects: readonly AppObject[]) {
    this.#collection = collection;
    this.#library = library;
    const graph = library.summary.graph;
    this.#nodes = graph?.nodes ?? [];
    for (const root of graph?.roots ?? []) this.#enter(root, { object: library.path, symbol: "" });
    for (const { path, summary } of objects) {
      if (path === library.path) continue;
      for (const symbol of summary.imports) {
        for (const node of graph?.exports[symbol] ?? []) this.#enter(node, { object: path, symbol });
      }
    }
    this.#reached = reachable(this.#nodes, this.#entrances.keys());
    for (const index of this.#reached) {
      for (const next of this.#nodes[index]?.to ?? []) {
        const known = this.#from.get(next);
        if (known) known.push(index);
        else this.#from.set(next, [index]);
      }
    }
  }

  #enter(node: number, entrance: Entrance): void {
    const known = this.#entrances.get(node);
    if (known) known.push(entrance);
    else this.#entrances.set(node, [entrance]);
  }

  run(): void {
    const holders = new Map<number, number[]>();
    const forOthers = new Map<number, number[]>();
    const families = new Map<number | null, number[]>();
    const texts = new Map<string, number[]>();
    const put = <K>(map: Map<K, number[]>, key: K, index: number): void => {
      const known = map.get(key);
      if (known) known.push(index);
      else map.set(key, [index]);
    };
    for (const index of this.#reached) {
      const node = this.#nodes[index];
      for (const [number, address, isForOthers] of node?.calls ?? []) {
        if (number !== null) put(isForOthers ? forOthers : holders, number, index);
        else this.#collection.unknown(unknownCall(this.#library.path, address, node?.name ?? ""));
      }
      for (const family of node?.families ?? []) put(families, family, index);
      for (const text of node?.texts ?? []) put(texts, text, index);
    }
    for (const [number, at] of holders) for (const by of this.#reasons(at)) this.#collection.call(number, by);
    for (const [number, at] of forOthers)
      for (const by of this.#reasons(at)) this.#collection.callForOthers(number, by);
    for (const [family, at] of families)
      for (const by of this.#reasons(at)) addFamily(this.#collection, family, by);
    for (const [text, at] of texts)
      for (const by of this.#reasons(at)) this.#collection.service(`file${text}`, by);
  }

  /** The nearest entrance of each object to any of the nodes. */
  #reasons(start: readonly number[]): Reason[] {
    const found = new Map<string, Reason>();
    // From each node the next one on the way to the call.
    const onward = new Map<number, number | undefined>(start.map((index) => [index, undefined]));
    const queue = [...onward.keys()];
    for (let position = 0; position < queue.length; position++) {
      const index = queue[position] ?? 0;
      for (const { object, symbol } of this.#entrances.get(index) ?? []) {
        if (!found.has(object)) found.set(object, this.#reason(object, symbol, index, onward));
      }
      for (const before of this.#from.get(index) ?? []) {
        if (onward.has(before)) continue;
        onward.set(before, index);
        queue.push(before);
      }
    }
    return [...found.values()];
  }

  #reason(
    object: string,
    symbol: string,
    entrance: number,
    onward: ReadonlyMap<number, number | undefined>,
  ): Reason {
    const through: string[] = [];
    for (let index: number | undefined = entrance; index !== undefined; index = onward.get(index)) {
      const name = this.#nodes[index]?.name ?? "";
      if (name !== "" && name !== symbol && through.at(-1) !== name) through.push(name);
    }
    if (symbol !== "") return { kind: "import", object, symbol, through };
    const { address, name } = this.#nodes[entrance] ?? { address: 0, name: "" };
    return { kind: "callSite", object, address, symbol: name };
  }
}

function addProfile(collection: Collection, profile: Profile): void {
  const by = (program: string): Reason => ({ kind: "profile", profile: profile.name, program });
  for (const [number, program] of profile.calls) collection.call(number, by(program));
  for (const [name, program] of profile.services) collection.service(name, by(program));
}

/** What opens files may open any: names come from arguments, configuration, other files. */
function addOpenedFiles(collection: Collection): void {
  for (const { number, by } of collection.calls()) {
    const [first] = by;
    if (!PATH_CALLS.has(number) || first === undefined) continue;
    const object = "object" in first ? first.object : "";
    const why = `${callName(number)} may be given the name of any file`;
    collection.service("file/*", { kind: "unknown", object, why });
  }
}
