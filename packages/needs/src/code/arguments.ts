/**
 * Which numbers an argument may have, such as the number of a system call: from
 * where it is used back through the functions that hand it on, to where it stands
 * in the code.
 */

import { type Departure, type Followed, follow } from "./flow.ts";
import type { CodeFunction } from "./references.ts";
import { type Atom, load, type State, slotAt, stackOffset, type Value } from "./value.ts";

/** A place where the argument is a number of the code. */
export interface Use {
  /** Instruction that makes the call, or calls the function that does. */
  readonly address: number;
  readonly function: CodeFunction;
  /** undefined: it could not be found out. */
  readonly number: number | undefined;
}

/** What a file knows about itself for this. */
export interface CodeIndex {
  readonly functions: readonly CodeFunction[];
  /** The function that holds an address of code. */
  readonly holder: (address: number) => CodeFunction | undefined;
  /** Functions with a direct call or jump to a function, and those that name its address otherwise. */
  readonly callers: (callee: CodeFunction) => readonly CodeFunction[];
  readonly namers: (address: number) => readonly CodeFunction[];
  /** Whether data holds the address of a function. */
  readonly isInData: (callee: CodeFunction) => boolean;
  readonly entries: (callee: CodeFunction) => readonly number[];
  readonly isFinal: (target: number) => boolean;
  readonly isScanned: boolean;
  /** Calls of an address that stand in no known function. */
  readonly looseCalls: (address: number) => readonly number[];
  /** Whether nothing records a function: it may begin elsewhere. */
  readonly isGuess: (each: CodeFunction) => boolean;
  /** Says for which addresses callers and namers will be asked. */
  readonly prepare: (addresses: readonly number[]) => void;
  /** What the file holds at an address of its data: 0 where it holds nothing; undefined beyond 32 bits. */
  readonly word: (address: number) => number | undefined;
}

/** Code that only jumps through a word is no longer than this. */
const LINKAGE_ENTRY = 16;
/** A structure of the data is no larger than this, as far as a function names it by its beginning. */
const LARGEST_STRUCTURE = 256;
/** Numbers above are no system calls and no families of sockets. */
const LARGEST = 1023;

/** Finds the numbers of one argument. */
export class ArgumentTracer {
  readonly uses: Use[] = [];
  /** Functions that take the argument from their caller: as which of theirs. */
  readonly handedOn: Map<CodeFunction, Set<string>> = new Map();
  readonly #code: CodeIndex;
  readonly #followed: Map<CodeFunction, Followed>;
  readonly #queue: { callee: CodeFunction; atom: string }[] = [];
  readonly #seen = new Set<string>();

  /** `followed` keeps what was followed, for the next tracer of the same code. */
  constructor(code: CodeIndex, followed: Map<CodeFunction, Followed>) {
    this.#code = code;
    this.#followed = followed;
  }

  /** The argument at an instruction of a function. */
  at(holder: CodeFunction, departure: Departure, value: Value): void {
    this.#note(holder, departure.address, value);
  }

  /** An argument of a function that is called through a word of the data, as libraries are. */
  through(word: number, register: number): void {
    const atom = `e${register}`;
    const loose = new Set(this.#code.looseCalls(word));
    for (const namer of this.#code.namers(word)) {
      // An entry of the linkage table hands everything on.
      if (namer.span.end - namer.span.start <= LINKAGE_ENTRY) {
        this.#handOn(namer, atom);
        continue;
      }
      const departures = this.followed(namer).departures.filter((each) => each.through === word);
      for (const departure of departures) {
        loose.delete(departure.address);
        this.#note(namer, departure.address, atCallee(departure, atom));
      }
      if (departures.length === 0) this.#use(namer, namer.span.start, undefined);
    }
    this.#useLoose(loose);
  }

  /** Goes back through all callers. Tracers of the same code go together, which spares looking through it. */
  static run(code: CodeIndex, tracers: readonly ArgumentTracer[]): void {
    for (;;) {
      const rounds = tracers.map((tracer) => tracer.#queue.splice(0));
      if (rounds.every((round) => round.length === 0)) return;
      code.prepare(rounds.flat().map(({ callee }) => callee.span.start));
      tracers.forEach((tracer, index) => {
        for (const { callee, atom } of rounds[index] ?? []) tracer.#fromCallers(callee, atom);
      });
    }
  }

  followed(each: CodeFunction): Followed {
    let result = this.#followed.get(each);
    if (!result) {
      const { isFinal, isScanned } = this.#code;
      const surroundings = {
        entries: this.#code.entries(each),
        isFinal,
        isScanned,
        isGuess: this.#code.isGuess(each),
      };
      result = follow(each.region, each.span, surroundings);
      this.#followed.set(each, result);
    }
    return result;
  }

  #note(holder: CodeFunction, address: number, value: Value): void {
    if (value === null) {
      this.#use(holder, address, undefined);
      return;
    }
    for (const atom of value) {
      if (typeof atom === "number") this.#use(holder, address, atom <= LARGEST ? atom : undefined);
      else if (/^[eap]/.test(atom)) this.#handOn(holder, atom);
      else if (atom.startsWith("q")) this.#throughWord(holder, address, atom);
      else if (atom.startsWith("g")) this.#fromWord(holder, address, Number(atom.slice(1)));
      else this.#use(holder, address, undefined);
    }
  }

  #use(holder: CodeFunction, address: number, number: number | undefined): void {
    const key = `${address} ${number}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.uses.push({ address, function: holder, number });
  }

  #handOn(holder: CodeFunction, atom: string): void {
    const atoms = this.handedOn.get(holder) ?? new Set();
    this.handedOn.set(holder, atoms);
    if (atoms.has(atom)) return;
    atoms.add(atom);
    this.#queue.push({ callee: holder, atom });
  }

  #fromCallers(callee: CodeFunction, atom: string): void {
    const isEntry = (target: number | undefined): boolean =>
      target !== undefined && this.#code.holder(target) === callee;
    const loose = new Set(this.#code.looseCalls(callee.span.start));
    const callers = this.#code.callers(callee);
    for (const caller of callers) {
      for (const departure of this.followed(caller).departures) {
        if (departure.kind === "syscall" || !isEntry(departure.target) || departure.target === undefined)
          continue;
        loose.delete(departure.address);
        this.#note(caller, departure.address, atCallee(departure, atom));
      }
    }
    this.#useLoose(loose);
    // It is called from somewhere: if not so, then it begins elsewhere and this is no argument.
    if (callers.length === 0 && this.#code.isGuess(callee)) this.#use(callee, callee.span.start, undefined);
    for (const namer of this.#code.namers(callee.span.start)) this.#fromNamer(namer, callee, atom);
    // Called through a pointer from anywhere, with anything.
    if (this.#code.isInData(callee)) this.#use(callee, callee.span.start, undefined);
  }

  /** Calls that nothing known leads to: whatever they hand over. */
  #useLoose(addresses: Iterable<number>): void {
    for (const address of addresses) {
      const holder = this.#code.holder(address);
      if (holder) this.#use(holder, address, undefined);
    }
  }

  /** A function that hands the callee's address on may hand on, beside it, the memory that the callee gets. */
  #fromNamer(namer: CodeFunction, callee: CodeFunction, atom: string): void {
    const { start } = callee.span;
    const pointee = /^p\d+\+(-?\d+)$/.exec(atom);
    let found = false;
    for (const { kind, address, state } of this.followed(namer).departures) {
      if (kind === "syscall" || !state.registers.some((value) => value?.includes(start))) continue;
      if (!pointee) break;
      for (const value of state.registers.slice(0, 16)) {
        const offset = value === state.registers[4] ? undefined : stackOffset(value);
        const inside = offset === undefined ? null : slotAt(state, offset + Number(pointee[1]));
        if (inside === null) continue;
        found = true;
        this.#note(namer, address, inside);
      }
    }
    if (!found) this.#use(namer, namer.span.start, undefined);
  }

  /** The number is in memory that a word of the data leads to: it is whatever was put there. */
  #throughWord(holder: CodeFunction, address: number, atom: string): void {
    const [, word = "", displacement = ""] = /^q(\d+)\+(-?\d+)$/.exec(atom) ?? [];
    // Clearing the word gives no number.
    const stored = this.#storedAt(Number(word)).filter(({ value }) => value?.length !== 1 || value[0] !== 0);
    if (stored.length === 0) this.#use(holder, address, undefined);
    for (const { by, value } of stored) {
      const inside = value?.length === 1 ? load(emptyState, value, Number(displacement)) : null;
      this.#note(by, by.span.start, inside);
    }
  }

  /** The number is a word of the data: what the file holds there, or what was put there. */
  #fromWord(holder: CodeFunction, address: number, word: number): void {
    const key = `word ${address} ${word}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#use(holder, address, this.#code.word(word));
    for (const { by, value } of this.#storedAt(word)) this.#note(by, by.span.start, value);
  }

  /** What functions put into a word of the data that they name, or the beginning of what it is part of. */
  #storedAt(word: number): { by: CodeFunction; value: Value }[] {
    const places = Array.from({ length: LARGEST_STRUCTURE / 8 }, (_, index) => word - index * 8);
    this.#code.prepare(places);
    const namers = new Set(places.flatMap((place) => this.#code.namers(place)));
    return [...namers].flatMap((by) => {
      const { stores } = this.followed(by);
      return stores.has(word) ? [{ by, value: stores.get(word) ?? null }] : [];
    });
  }
}

const emptyState: State = { registers: [], slots: new Map() };

/** An argument of the callee, seen from the call. */
function atCallee(departure: Departure, atom: Atom): Value {
  const { state, kind } = departure;
  const text = String(atom);
  if (text.startsWith("e")) return state.registers[Number(text.slice(1))] ?? null;
  if (text.startsWith("a")) {
    const stack = stackOffset(state.registers[4] ?? null);
    // A call puts the return address on the stack, a jump finds it there.
    const shift = kind === "call" ? 8 : 0;
    return stack === undefined ? null : slotAt(state, stack + Number(text.slice(1)) - shift);
  }
  const [, register = "", displacement = ""] = /^p(\d+)\+(-?\d+)$/.exec(text) ?? [];
  return load(state, state.registers[Number(register)] ?? null, Number(displacement));
}
