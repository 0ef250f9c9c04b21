/** Follows values through one function: what a system call's or callee's arguments may be. */

import type { Region, Span } from "@spore/patch";
import { type Operand, type Operation, readOperations, STACK } from "./operation.ts";
import {
  CALLER_SAVED,
  copyState,
  entryState,
  join,
  joinState,
  load,
  narrow,
  plus,
  Register,
  type State,
  stackOffset,
  store,
  unknownState,
  type Value,
  VECTOR_HIGH,
  VECTOR_LOW,
} from "./value.ts";

/** What happens at an instruction that leaves the function for a while, or for good. */
export interface Departure {
  readonly kind: "syscall" | "call" | "tailCall";
  readonly address: number;
  /** Function that is called directly. */
  readonly target: number | undefined;
  /** Address of the word that is called through. */
  readonly through: number | undefined;
  readonly state: State;
}

/** What is known of the code around a function. */
export interface Surroundings {
  /** Where the function is entered besides its start. */
  readonly entries: readonly number[];
  /** Whether a function never comes back. */
  readonly isFinal: (target: number) => boolean;
  /** Whether the region knows where computed jumps may lead. */
  readonly isScanned: boolean;
  /** Whether nothing records where the function begins and ends: it may be several. */
  readonly isGuess: boolean;
}

/** What following a function shows. */
export interface Followed {
  /** All system calls, calls and jumps out of it, each once with everything that may hold there. */
  readonly departures: readonly Departure[];
  /** What it writes to words of the file's data, by their address. */
  readonly stores: ReadonlyMap<number, Value>;
}

/** Follows values from the start of a function to where they are used. */
export function follow(region: Region, span: Span, surroundings: Surroundings): Followed {
  return new Flow(region, span, surroundings).run();
}

const EXIT_GROUP = 231;

class Flow {
  readonly #span: Span;
  readonly #operations: readonly Operation[];
  readonly #index = new Map<number, number>();
  /** States where straight-line code begins. */
  readonly #states = new Map<number, State>();
  readonly #pending: number[] = [];
  readonly #departures = new Map<number, Departure>();
  /** Where an indirect jump may lead. */
  readonly #possible: readonly number[];
  /** What holds at all indirect jumps. */
  #anywhere: State | undefined;
  readonly #surroundings: Surroundings;
  readonly #stores = new Map<number, Value>();
  /** It does nothing but end the program. */
  #hasEnded = false;

  constructor(region: Region, span: Span, surroundings: Surroundings) {
    this.#surroundings = surroundings;
    this.#span = span;
    this.#operations = readOperations(region, span);
    this.#operations.forEach(({ address }, index) => {
      this.#index.set(address, index);
    });
    this.#possible = surroundings.isScanned
      ? this.#operations.map(({ address }) => address).filter((each) => region.isPossible(each))
      : this.#likely();
  }

  run(): Followed {
    for (const entry of [this.#span.start, ...this.#surroundings.entries]) this.#enter(entry, entryState());
    this.#drain();
    // It leads straight to the end of the program: what follows (C libraries try `exit` there) never runs.
    if (this.#hasEnded) return this.#followed();
    // Entered in a way that is not seen: from a table, by unwinding, by a second name.
    for (const { address, kind } of this.#operations) {
      const matters =
        kind === "syscall" ||
        (this.#surroundings.isGuess && (kind === "call" || kind === "jump" || kind === "indirectJump"));
      if (!matters || this.#departures.has(address)) continue;
      this.#enter(this.#startOf(address), unknownState());
      this.#drain();
    }
    return this.#followed();
  }

  #followed(): Followed {
    return { departures: [...this.#departures.values()], stores: this.#stores };
  }

  /** Without a scan: where direct jumps lead, and what nothing else leads to. */
  #likely(): number[] {
    const result = new Set<number>();
    this.#operations.forEach((operation, index) => {
      if (operation.kind === "jump") result.add(operation.target);
      const next = this.#operations[index + 1];
      if (next && endsStraight(operation)) result.add(next.address);
    });
    return [...result];
  }

  /** The first instruction of the straight-line code that leads to an address. */
  #startOf(address: number): number {
    let at = this.#index.get(address) ?? 0;
    while (at > 0 && !this.#possible.includes(this.#operations[at]?.address ?? 0)) {
      const before = this.#operations[at - 1];
      if (before === undefined || endsStraight(before)) break;
      at--;
    }
    return this.#operations[at]?.address ?? address;
  }

  #enter(address: number, state: State): void {
    if (!this.#index.has(address)) return;
    const known = this.#states.get(address);
    if (known ? joinState(known, state) : true) {
      if (!known) this.#states.set(address, copyState(state));
      this.#pending.push(address);
    }
  }

  #drain(): void {
    for (let at = this.#pending.pop(); at !== undefined; at = this.#pending.pop()) {
      const state = this.#states.get(at);
      if (state) this.#straight(this.#index.get(at) ?? 0, copyState(state));
    }
  }

  #straight(first: number, state: State): void {
    for (let index = first; index < this.#operations.length; index++) {
      const operation = this.#operations[index];
      if (!operation) return;
      if (index !== first && this.#states.has(operation.address)) {
        this.#enter(operation.address, state);
        return;
      }
      if (!this.#step(operation, state)) return;
    }
  }

  /** Carries an operation out; false if the next one does not follow. */
  #step(operation: Operation, state: State): boolean {
    switch (operation.kind) {
      case "jump":
        return this.#jump(operation.address, operation.target, operation.next, operation.conditional, state);
      case "indirectJump":
        return this.#indirectJump(operation.address, wordOf(state, operation.through), state);
      case "return":
      case "invalid":
        return false;
      case "syscall":
        this.#depart("syscall", operation.address, undefined, undefined, state);
        if (this.#isStraightTo(EXIT_GROUP, state)) {
          this.#hasEnded = true;
          return false;
        }
        for (const register of [Register.rax, Register.rcx, Register.r11]) state.registers[register] = null;
        return true;
      case "call":
        this.#depart("call", operation.address, operation.target, wordOf(state, operation.through), state);
        if (operation.target !== undefined && this.#surroundings.isFinal(operation.target)) return false;
        for (const register of CALLER_SAVED) state.registers[register] = null;
        state.registers.fill(null, VECTOR_LOW);
        return true;
      case "move":
        this.#stored(operation.to, 0, read(state, operation.from), state);
        apply(operation, state);
        return true;
      case "copy":
        for (const half of [0, 8])
          this.#stored(operation.to, half, readHalf(state, operation.from, half), state);
        apply(operation, state);
        return true;
      default:
        apply(operation, state);
        return true;
    }
  }

  /** Whether this is the call of that number, and all that can happen in the function led here. */
  #isStraightTo(number: number, state: State): boolean {
    const { entries, isScanned } = this.#surroundings;
    const isOnlyWay =
      isScanned && entries.length === 0 && this.#states.size === 1 && this.#pending.length === 0;
    return isOnlyWay && isNumber(state.registers[Register.rax], number);
  }

  #indirectJump(address: number, through: number | undefined, state: State): false {
    if (through !== undefined) this.#depart("tailCall", address, undefined, through, state);
    else if (this.#anywhere === undefined || joinState(this.#anywhere, state)) {
      this.#anywhere ??= copyState(state);
      for (const target of this.#possible) this.#enter(target, this.#anywhere);
    }
    return false;
  }

  #jump(address: number, target: number, next: number, conditional: boolean, state: State): boolean {
    const inside = target > this.#span.start && target < this.#span.end;
    if (inside || target === this.#span.start) this.#enter(target, state);
    if (!inside) this.#depart("tailCall", address, target, undefined, state);
    if (conditional) this.#enter(next, state);
    return false;
  }

  /** Notes what goes to a word of the file's data. */
  #stored(to: Operand, more: number, value: Value, state: State): void {
    if (to.kind !== "memory") return;
    const [base, second] = (to.base === undefined ? null : state.registers[to.base]) ?? [];
    const address =
      to.absolute ?? (typeof base === "number" && second === undefined ? base + to.displacement : undefined);
    if (address === undefined) return;
    const known = this.#stores.get(address + more);
    this.#stores.set(address + more, known === undefined ? value : join(known, value));
  }

  #depart(
    kind: Departure["kind"],
    address: number,
    target: number | undefined,
    through: number | undefined,
    state: State,
  ): void {
    const known = this.#departures.get(address);
    if (known) joinState(known.state, state);
    else this.#departures.set(address, { kind, address, target, through, state: copyState(state) });
  }
}

/** Whether a value is that number and no other. */
export function isNumber(value: Value | undefined, number: number): boolean {
  return value?.length === 1 && value[0] === number;
}

function endsStraight({ kind }: Operation): boolean {
  return kind === "jump" || kind === "return" || kind === "indirectJump" || kind === "invalid";
}

/** What an operation does to registers and stack. */
function apply(operation: Operation, state: State): void {
  switch (operation.kind) {
    case "move":
      assign(state, operation.to, moved(state, operation.to, operation.from));
      break;
    case "either":
      assign(state, operation.to, join(read(state, operation.to), read(state, operation.from)));
      break;
    case "address":
      assign(state, operation.to, addressOf(state, operation.from));
      break;
    case "copy": {
      const halves = [0, 8].map((half) => readHalf(state, operation.from, half));
      if (operation.to.kind === "vector") {
        state.registers[VECTOR_LOW + operation.to.vector] = halves[0] ?? null;
        state.registers[VECTOR_HIGH + operation.to.vector] = halves[1] ?? null;
      } else if (operation.to.kind === "memory") {
        const { to } = operation;
        [0, 8].forEach((half, index) => {
          assign(state, { ...to, displacement: to.displacement + half, size: 8 }, halves[index] ?? null);
        });
      }
      break;
    }
    case "add":
      assign(state, operation.to, plus(read(state, operation.to), operation.amount));
      break;
    case "push": {
      const value = read(state, operation.operand);
      state.registers[STACK] = plus(state.registers[STACK] ?? null, -8);
      assign(state, { kind: "memory", base: STACK, absolute: undefined, displacement: 0, size: 8 }, value);
      break;
    }
    case "pop": {
      const value = load(state, state.registers[STACK] ?? null, 0);
      state.registers[STACK] = plus(state.registers[STACK] ?? null, 8);
      assign(state, operation.operand, value);
      break;
    }
    case "leave": {
      const frame = state.registers[5] ?? null;
      state.registers[5] = load(state, frame, 0);
      state.registers[STACK] = plus(frame, 8);
      break;
    }
    case "exchange": {
      const [a, b] = [read(state, operation.a), read(state, operation.b)];
      assign(state, operation.a, b);
      assign(state, operation.b, a);
      break;
    }
    case "other":
      for (const register of operation.writes) state.registers[register] = null;
      if (operation.memory) assign(state, operation.memory, null);
      break;
  }
}

/** What a move leaves; one of the lowest 8 bits keeps the others. */
function moved(state: State, to: Operand, from: Operand): Value {
  if (to.kind !== "register" || to.bits !== 8 || from.kind !== "number") return read(state, from);
  const before = state.registers[to.register] ?? null;
  if (!before?.every((atom) => typeof atom === "number")) return null;
  return before.map((atom) => Math.floor(Number(atom) / 256) * 256 + (from.number & 255));
}

function read(state: State, operand: Operand): Value {
  switch (operand.kind) {
    case "number":
      return operand.number >= 0 && operand.number <= 0xffff_ffff ? [operand.number] : null;
    case "register":
      if (operand.bits < 32) return null;
      return operand.bits === 64
        ? (state.registers[operand.register] ?? null)
        : narrow(state.registers[operand.register] ?? null);
    case "memory":
      if (operand.absolute !== undefined) return operand.size < 4 ? null : [`g${operand.absolute}`];
      if (operand.base === undefined || operand.size < 4) return null;
      return load(state, state.registers[operand.base] ?? null, operand.displacement);
    case "vector":
    case "other":
      return null;
  }
}

/** 8 of the 16 bytes that a copy reads. */
function readHalf(state: State, operand: Operand, half: number): Value {
  if (operand.kind === "vector") {
    return state.registers[(half === 0 ? VECTOR_LOW : VECTOR_HIGH) + operand.vector] ?? null;
  }
  if (operand.kind !== "memory") return null;
  if (operand.absolute !== undefined) return [`g${operand.absolute + half}`];
  if (operand.base === undefined) return null;
  return load(state, state.registers[operand.base] ?? null, operand.displacement + half);
}

/** The word of the file's data that a value was read from. */
function wordOf(state: State, operand: Operand): number | undefined {
  const value = read(state, operand);
  const [atom] = value ?? [];
  return value?.length === 1 && typeof atom === "string" && atom.startsWith("g")
    ? Number(atom.slice(1))
    : undefined;
}

function addressOf(state: State, operand: Operand): Value {
  if (operand.kind !== "memory") return null;
  if (operand.absolute !== undefined) return [operand.absolute];
  if (operand.base === undefined) return null;
  return plus(state.registers[operand.base] ?? null, operand.displacement);
}

function assign(state: State, operand: Operand, value: Value): void {
  if (operand.kind === "register") {
    const known = operand.bits === 8 ? value : operand.bits < 32 ? null : value;
    state.registers[operand.register] = operand.bits === 64 ? known : narrow(known);
  } else if (operand.kind === "memory" && operand.base !== undefined) {
    const offset = stackOffset(state.registers[operand.base] ?? null);
    if (offset !== undefined) store(state, offset + operand.displacement, Math.max(1, operand.size), value);
  }
}
