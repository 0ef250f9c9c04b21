/** Which functions of a file lead to which system calls: what a C library is reduced to. */

import { type ElfFile, readDynamicSymbols, SegmentFlag, SymbolType } from "@spore/elf";
import type { Use } from "./code/arguments.ts";
import type { Code } from "./code/index-code.ts";
import type { Pointers } from "./code/pointers.ts";
import type { CodeFunction } from "./code/references.ts";
import { madeUpFileAt } from "./made-up-files.ts";

/** A function, or data through which functions are reached. */
export interface GraphNode {
  readonly address: number;
  /** "" if nothing names it. */
  readonly name: string;
  /** Calls that it makes: number (null: unknown), address of the instruction, whether only others make it matter. */
  readonly calls: readonly (readonly [number: number | null, address: number, forOthers: boolean])[];
  /** Families of sockets that it asks for; null: unknown. */
  readonly families: readonly (number | null)[];
  /** Files of the library OS that it names. */
  readonly texts: readonly string[];
  /** Nodes that it may go on to. */
  readonly to: readonly number[];
}

/** All nodes that lead to a call, a socket or a file, and how they are entered. */
export interface Graph {
  readonly nodes: readonly GraphNode[];
  /** Nodes that run without being asked for: entry point, initialisers, ends; all, if some code belongs to none. */
  readonly roots: readonly number[];
  /** Exported functions and variables: the nodes behind each. */
  readonly exports: Readonly<Record<string, readonly number[]>>;
}

interface Building {
  readonly address: number;
  readonly name: string;
  readonly calls: [number | null, number, boolean][];
  readonly families: Set<number | null>;
  readonly texts: Set<string>;
  readonly to: Set<Building>;
  /** Whether anything worth keeping is behind it. */
  matters: boolean;
}

/** Builds the graph of a file. */
export function readGraph(
  elf: ElfFile,
  code: Code,
  pointers: Pointers,
  calls: readonly Use[],
  families: readonly Use[],
  forOthers: ReadonlySet<number>,
): Graph {
  const builder = new Builder(elf, code, pointers);
  for (const { function: holder, number, address } of calls) {
    builder.function(holder).calls.push([number ?? null, address, forOthers.has(address)]);
  }
  for (const use of families) builder.function(use.function).families.add(use.number ?? null);
  return builder.finish();
}

class Builder {
  readonly #elf: ElfFile;
  readonly #code: Code;
  readonly #pointers: Pointers;
  readonly #nodes = new Map<number, Building>();
  readonly #pending: (() => void)[] = [];

  constructor(elf: ElfFile, code: Code, pointers: Pointers) {
    this.#elf = elf;
    this.#code = code;
    this.#pointers = pointers;
  }

  function(each: CodeFunction): Building {
    const known = this.#nodes.get(each.span.start);
    if (known) return known;
    const node = this.#node(each.span.start, this.#code.name(each.span.start));
    this.#pending.push(() => {
      for (const address of [...each.targets, ...each.addresses]) this.#refer(node, address);
    });
    return node;
  }

  /** What is at an address: a function, or data with pointers. */
  #at(address: number): Building | undefined {
    const holder = this.#code.holder(address);
    if (holder) return this.function(holder);
    const known = this.#nodes.get(address);
    if (known) return known;
    const inside = this.#pointers.from(address);
    const text = madeUpFileAt(this.#elf, address);
    if (inside.length === 0 && text === undefined) return undefined;
    const node = this.#node(address, "");
    if (text !== undefined) node.texts.add(text);
    this.#pending.push(() => {
      for (const { target } of inside) this.#refer(node, target);
    });
    return node;
  }

  #refer(node: Building, address: number): void {
    const target = this.#at(address);
    if (target && target !== node) node.to.add(target);
  }

  #node(address: number, name: string): Building {
    const node = {
      address,
      name,
      calls: [],
      families: new Set(),
      texts: new Set(),
      to: new Set(),
      matters: false,
    };
    this.#nodes.set(address, node as Building);
    return node as Building;
  }

  finish(): Graph {
    const entered = this.#roots();
    const exports = this.#exports();
    for (let next = this.#pending.pop(); next; next = this.#pending.pop()) next();
    const roots = this.#hasLost() ? this.#nodes.values() : entered;
    this.#markWhatMatters();
    const kept = [...this.#nodes.values()]
      .filter(({ matters }) => matters)
      .sort((a, b) => a.address - b.address);
    const index = new Map(kept.map((node, position) => [node, position]));
    const indices = (nodes: Iterable<Building>): number[] =>
      [...nodes].flatMap((node) => index.get(node) ?? []).sort((a, b) => a - b);
    return {
      nodes: kept.map(({ address, name, calls, families, texts, to }) => ({
        address,
        name,
        calls,
        families: [...families],
        texts: [...texts].sort(),
        to: indices(to),
      })),
      roots: indices(roots),
      exports: Object.fromEntries(
        [...exports]
          .map(([name, nodes]) => [name, indices(nodes)] as const)
          .filter(([, nodes]) => nodes.length > 0),
      ),
    };
  }

  /** The entry point and what initialisation and end call through tables. */
  #roots(): Set<Building> {
    const roots = new Set<Building>();
    const add = (address: number): void => {
      const node = address === 0 ? undefined : this.#at(address);
      if (node) roots.add(node);
    };
    add(this.#elf.header.entry);
    for (const address of this.#code.initialisers) add(address);
    return roots;
  }

  /** Whether code is called that belongs to no function: then it may lead to any. */
  #hasLost(): boolean {
    const called = [this.#elf.header.entry, ...this.#code.initialisers];
    for (const { targets } of this.#code.functions) called.push(...targets);
    const isCode = (address: number): boolean =>
      this.#elf.loads.some(
        ({ flags, vaddr, fileSize }) =>
          (flags & SegmentFlag.execute) !== 0 && address >= vaddr && address < vaddr + fileSize,
      );
    return called.some((address) => isCode(address) && !this.#code.holder(address));
  }

  #exports(): Map<string, Set<Building>> {
    const result = new Map<string, Set<Building>>();
    const symbols = readDynamicSymbols(this.#elf);
    for (let index = 1; index < (symbols?.count ?? 0); index++) {
      const symbol = symbols?.at(index);
      if (!symbol || symbol.section === 0 || symbol.type === SymbolType.tls) continue;
      const node = this.#at(symbol.address);
      if (!node) continue;
      const nodes = result.get(symbol.name) ?? new Set();
      result.set(symbol.name, nodes.add(node));
    }
    return result;
  }

  #markWhatMatters(): void {
    const from = new Map<Building, Building[]>();
    const queue: Building[] = [];
    for (const node of this.#nodes.values()) {
      for (const target of node.to) from.set(target, [...(from.get(target) ?? []), node]);
      if (node.calls.length + node.families.size + node.texts.size > 0) queue.push(node);
    }
    for (let node = queue.pop(); node; node = queue.pop()) {
      if (node.matters) continue;
      node.matters = true;
      queue.push(...(from.get(node) ?? []));
    }
  }
}
