/** What one ELF file shows of its system calls: found once, then kept by its build id. */

import {
  type ElfFile,
  interpreter,
  parseElf,
  readDynamic,
  readDynamicSymbols,
  readRelocations,
  readSections,
  SegmentType,
  segmentOfType,
} from "@spore/elf";
import { ArgumentTracer, type Use } from "./code/arguments.ts";
import type { Followed } from "./code/flow.ts";
import { callsOfPrivilegedStart, needsSomebodyElse } from "./code/idle-calls.ts";
import { type Code, readCode } from "./code/index-code.ts";
import type { CodeFunction } from "./code/references.ts";
import { searchCode } from "./code/search-code.ts";
import { Register } from "./code/value.ts";
import { type Graph, readGraph } from "./graph.ts";
import { madeUpFiles } from "./made-up-files.ts";

/** Changes whenever summaries of older versions must not be believed. */
export const SUMMARY_VERSION = 5;

/** A call in the code of a file. */
export interface CallUse {
  /** null: which call it is could not be found out. */
  readonly number: number | null;
  readonly address: number;
  readonly symbol: string;
  /** It matters only to a program that is not alone: with threads or signal handlers. */
  readonly forOthers: boolean;
}

/** An argument that a function of a library takes from its callers: it decides what is needed. */
export interface Passed {
  readonly what: "call" | "family";
  /** Number of the register. */
  readonly register: number;
}

/** What a file shows. */
export interface Summary {
  readonly version: typeof SUMMARY_VERSION;
  /** Number of system-call instructions. */
  readonly sites: number;
  /** Symbols that it takes from others. */
  readonly imports: readonly string[];
  /** Its functions, if it can be told which of them are in use; else everything it holds counts. */
  readonly graph: Graph | null;
  /** Without a graph: all calls that it makes itself, or has made by `syscall(2)`. */
  readonly calls: readonly CallUse[];
  /** Without a graph: families of sockets that it asks for; null among them: unknown ones. */
  readonly families: readonly (number | null)[];
  /** Without a graph: files of the library OS that it names. */
  readonly texts: readonly string[];
  /** The runtime that it is built with, if that shows: it asks for what no code of the program does. */
  readonly runtime: "go" | null;
  /** Exported functions whose callers decide. */
  readonly passed: Readonly<Record<string, Passed>>;
}

/** Larger files are not disassembled as a whole. */
const LARGEST_GRAPH = 16 << 20;
const SOCKET = 41;
const SOCKETPAIR = 53;

/**
 * Reads a file. `passed` tells which functions of the C library take from their
 * callers what decides, as `syscall` does.
 */
export function summarise(bytes: Uint8Array, passed: Readonly<Record<string, Passed>>): Summary {
  const elf = parseElf(bytes);
  const whole = isSelfContained(elf) && textSize(elf) <= LARGEST_GRAPH && !isGo(elf);
  const code = whole ? readCode(elf) : searchCode(elf);
  try {
    const followed: Map<CodeFunction, Followed> = new Map();
    const calls = new ArgumentTracer(code, followed);
    const families = new ArgumentTracer(code, followed);
    const forOthers = traceSites(elf, code, calls);
    traceImports(elf, code, passed, { call: calls, family: families });
    ArgumentTracer.run(code, [calls, families]);
    traceSockets(calls.uses, families);
    ArgumentTracer.run(code, [families]);
    const use = ({ number, address, function: holder }: Use): CallUse => {
      const symbol = code.name(holder.span.start);
      return { number: number ?? null, address, symbol, forOthers: forOthers.has(address) };
    };
    return {
      version: SUMMARY_VERSION,
      sites: code.sites.length,
      imports: importsOf(elf),
      graph: code.pointers ? readGraph(elf, code, code.pointers, calls.uses, families.uses, forOthers) : null,
      calls: code.pointers ? [] : calls.uses.map(use),
      families: code.pointers ? [] : [...new Set(families.uses.map(({ number }) => number ?? null))],
      texts: code.pointers ? [] : madeUpFiles(elf),
      runtime: isGo(elf) ? "go" : null,
      passed: { ...passedOn(elf, code, calls, "call"), ...passedOn(elf, code, families, "family") },
    };
  } finally {
    code.free();
  }
}

/** A C library, a dynamic linker, a static program: it asks nobody else for system calls. */
function isSelfContained(elf: ElfFile): boolean {
  const dynamic = readDynamic(elf);
  const asksLinkerAlone = dynamic?.needed.every((name) => name.startsWith("ld-linux")) ?? true;
  return interpreter(elf) === undefined ? asksLinkerAlone : dynamic?.soname?.startsWith("libc.so") === true;
}

/** Go's linker keeps what is reachable alone; its data leads from anything to everything. */
function isGo(elf: ElfFile): boolean {
  return readSections(elf).some(({ name }) => name === ".gopclntab" || name === ".go.buildinfo");
}

function textSize(elf: ElfFile): number {
  return elf.loads.reduce((sum, load) => sum + ((load.flags & 1) === 0 ? 0 : load.fileSize), 0);
}

/** The numbers at the file's own system calls; gives the addresses of those that matter with others alone. */
function traceSites(elf: ElfFile, code: Code, tracer: ArgumentTracer): ReadonlySet<number> {
  const forOthers = new Set<number>();
  for (const holder of holdersOf(code)) {
    const followed = tracer.followed(holder);
    const never = callsOfPrivilegedStart(elf, followed);
    for (const departure of followed.departures) {
      if (departure.kind !== "syscall" || never.has(departure.address)) continue;
      if (needsSomebodyElse(departure)) forOthers.add(departure.address);
      tracer.at(holder, departure, departure.state.registers[Register.rax] ?? null);
    }
  }
  return forOthers;
}

/** First arguments of the file's own calls of socket and socketpair. */
function traceSockets(calls: readonly Use[], tracer: ArgumentTracer): void {
  const sockets = new Map(
    calls.filter(({ number }) => number === SOCKET || number === SOCKETPAIR).map((use) => [use.address, use]),
  );
  for (const { function: holder } of sockets.values()) {
    for (const departure of tracer.followed(holder).departures) {
      if (!sockets.has(departure.address)) continue;
      // Where another function makes the call, its arguments may have been moved.
      const direct = departure.kind === "syscall";
      tracer.at(holder, departure, direct ? (departure.state.registers[Register.rdi] ?? null) : null);
    }
  }
}

function holdersOf(code: Code): Set<NonNullable<ReturnType<Code["holder"]>>> {
  const holders = code.sites.map(({ address }) => code.holder(address));
  return new Set(holders.filter((each) => each !== undefined));
}

/** What the file hands to functions of the C library that pass it on. */
function traceImports(
  elf: ElfFile,
  code: Code,
  passed: Readonly<Record<string, Passed>>,
  tracers: Readonly<Record<Passed["what"], ArgumentTracer>>,
): void {
  const symbols = readDynamicSymbols(elf);
  if (!symbols) return;
  const wanted: (Passed & { address: number })[] = [];
  for (const { address, symbol } of readRelocations(elf)) {
    if (symbol === 0 || symbol >= symbols.count || symbols.bounds(symbol).section !== 0) continue;
    const argument = passed[symbols.at(symbol).name];
    if (argument) wanted.push({ ...argument, address });
  }
  code.prepare(wanted.map(({ address }) => address));
  for (const { what, address, register } of wanted) tracers[what].through(address, register);
}

function importsOf(elf: ElfFile): string[] {
  const names = new Set<string>();
  const symbols = readDynamicSymbols(elf);
  for (let index = 1; index < (symbols?.count ?? 0); index++) {
    const symbol = symbols?.at(index);
    if (symbol?.section === 0 && symbol.name !== "") names.add(symbol.name);
  }
  return [...names].sort();
}

/** Exported functions that hand the argument on. */
function passedOn(
  elf: ElfFile,
  code: Code,
  tracer: ArgumentTracer,
  what: Passed["what"],
): Record<string, Passed> {
  const result: Record<string, Passed> = {};
  // Only C libraries are asked for calls.
  if (!code.pointers) return result;
  const symbols = readDynamicSymbols(elf);
  for (let index = 1; index < (symbols?.count ?? 0); index++) {
    const symbol = symbols?.at(index);
    if (!symbol || symbol.section === 0) continue;
    const holder = code.holder(symbol.address);
    const atoms = holder && holder.span.start === symbol.address ? tracer.handedOn.get(holder) : undefined;
    for (const atom of atoms ?? []) {
      if (atom.startsWith("e")) result[symbol.name] = { what, register: Number(atom.slice(1)) };
    }
  }
  return result;
}

/** True for a file that is started itself or loaded by one that is. */
export function isLoadable(elf: ElfFile): boolean {
  return segmentOfType(elf, SegmentType.load) !== undefined;
}
