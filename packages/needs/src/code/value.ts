/** What a register or a stack slot may hold, as far as one function tells. */

/**
 * One possibility:
 * - a number: that number;
 * - `e7`: what register 7 held when the function began;
 * - `a8`: what the stack held 8 bytes above the return address's place when the function began;
 * - `s-16`: the address 16 bytes below that place;
 * - `p7+16`: what memory held at register 7 (as the function began) plus 16;
 * - `g4096`: what the word at address 4096 of the file's data holds;
 * - `q4096+16`: what memory holds at that word's value plus 16.
 */
export type Atom = number | string;

/** All possibilities; null: it may be anything. */
export type Value = readonly Atom[] | null;

/** More possibilities than this count as anything. */
const MOST = 24;

/** Either the one or the other. */
export function join(a: Value, b: Value): Value {
  if (a === b) return a;
  if (a === null || b === null) return null;
  const more = b.filter((atom) => !a.includes(atom));
  if (more.length === 0) return a;
  return a.length + more.length > MOST ? null : [...a, ...more];
}

/** Whether joining `b` into `a` changes nothing. */
export function covers(a: Value, b: Value): boolean {
  return a === null || b?.every((atom) => a.includes(atom)) === true;
}

/** Offset of a stack address from where the function's stack began. */
export function stackOffset(value: Value): number | undefined {
  if (value?.length !== 1) return undefined;
  const [atom] = value;
  return typeof atom === "string" && atom.startsWith("s") ? Number(atom.slice(1)) : undefined;
}

/** The value plus a number. */
export function plus(value: Value, amount: number): Value {
  if (value === null) return null;
  const moved: Atom[] = [];
  for (const atom of value) {
    if (typeof atom === "number") {
      const sum = atom + amount;
      if (sum < 0 || sum > 0xffff_ffff) return null;
      moved.push(sum);
    } else if (atom.startsWith("s")) {
      moved.push(`s${Number(atom.slice(1)) + amount}`);
    } else {
      return null;
    }
  }
  return moved;
}

/** The lower 32 bits. */
export function narrow(value: Value): Value {
  return value?.some((atom) => typeof atom === "string" && atom.startsWith("s")) ? null : value;
}

/** Registers and stack slots at one instruction. */
export interface State {
  /** By number: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15, then the lower and upper 8 bytes of xmm0 to 15. */
  readonly registers: Value[];
  /** By offset from where the function's stack began. */
  readonly slots: Map<number, Value>;
}

/** Numbers of the registers that are named here. */
export const Register = { rax: 0, rcx: 1, rdx: 2, rsp: 4, rsi: 6, rdi: 7, r10: 10, r11: 11 } as const;

/** Where the halves of vector registers begin. */
export const VECTOR_LOW = 16;
export const VECTOR_HIGH = 32;
const REGISTERS = 48;

/** Registers that a called function may change (System V ABI); Go's calls change more, but it keeps nothing there. */
export const CALLER_SAVED: readonly number[] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/** A function's first instruction. */
export function entryState(): State {
  const registers: Value[] = Array.from({ length: REGISTERS }, (_, register) =>
    register < VECTOR_LOW ? [`e${register}`] : null,
  );
  registers[Register.rsp] = ["s0"];
  return { registers, slots: new Map() };
}

/** Nothing is known, not even the stack. */
export function unknownState(): State {
  return { registers: Array.from({ length: REGISTERS }, () => null), slots: new Map() };
}

/** A copy that can be changed. */
export function copyState(state: State): State {
  return { registers: [...state.registers], slots: new Map(state.slots) };
}

/** Joins `from` into `into`; true if that changed anything. */
export function joinState(into: State, from: State): boolean {
  let changed = false;
  into.registers.forEach((value, register) => {
    const other = from.registers[register] ?? null;
    if (covers(value, other)) return;
    into.registers[register] = join(value, other);
    changed = true;
  });
  for (const [offset, value] of into.slots) {
    const other = from.slots.has(offset) ? (from.slots.get(offset) ?? null) : untouched(offset);
    if (covers(value, other)) continue;
    into.slots.set(offset, join(value, other));
    changed = true;
  }
  for (const [offset, value] of from.slots) {
    if (into.slots.has(offset)) continue;
    const before = untouched(offset);
    if (covers(before, value)) continue;
    into.slots.set(offset, join(before, value));
    changed = true;
  }
  return changed;
}

/** What a slot holds that the function has not written. */
export function untouched(offset: number): Value {
  return offset > 0 ? [`a${offset}`] : null;
}

/** What 8 bytes on the stack hold. */
export function slotAt(state: State, offset: number): Value {
  const value = state.slots.get(offset);
  return value === undefined ? untouched(offset) : value;
}

/** What memory holds at an address. */
export function load(state: State, address: Value, displacement: number): Value {
  const offset = stackOffset(address);
  if (offset !== undefined) return slotAt(state, offset + displacement);
  if (address?.length !== 1) return null;
  const [atom] = address;
  if (typeof atom !== "string") return atom === undefined ? null : [`g${atom + displacement}`];
  if (atom.startsWith("e")) return [`p${atom.slice(1)}+${displacement}`];
  return atom.startsWith("g") ? [`q${atom.slice(1)}+${displacement}`] : null;
}

/** Writes `size` bytes on the stack: what they overlap is lost. */
export function store(state: State, offset: number, size: number, value: Value): void {
  for (let at = offset - 7; at < offset + size; at++) {
    if (at !== offset && (state.slots.has(at) || at > 0)) state.slots.set(at, null);
  }
  state.slots.set(offset, size >= 4 ? value : null);
}
