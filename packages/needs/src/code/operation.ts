/** One instruction, reduced to what it does to registers, stack and control. */

import { iced, type Region, type Span } from "@spore/patch";
import { Register, VECTOR_HIGH, VECTOR_LOW } from "./value.ts";

type Instruction = Parameters<Parameters<Region["visit"]>[2]>[0];

/** Where a value comes from or goes to. */
export type Operand =
  | { readonly kind: "number"; readonly number: number }
  | { readonly kind: "register"; readonly register: number; readonly bits: number }
  /** Memory at base + displacement; base undefined: an address that is not followed, or a known one. */
  | {
      readonly kind: "memory";
      readonly base: number | undefined;
      /** The address itself, if it is in the instruction. */
      readonly absolute: number | undefined;
      readonly displacement: number;
      readonly size: number;
    }
  /** A vector register, of which the lowest 16 bytes are followed. */
  | { readonly kind: "vector"; readonly vector: number }
  | { readonly kind: "other" };

/** What an instruction does. */
export type Operation = { readonly address: number; readonly next: number } & (
  | { readonly kind: "move" | "either"; readonly to: Operand; readonly from: Operand }
  | { readonly kind: "address"; readonly to: Operand; readonly from: Operand }
  /** Copies 16 bytes. */
  | { readonly kind: "copy"; readonly to: Operand; readonly from: Operand }
  | { readonly kind: "add"; readonly to: Operand; readonly amount: number }
  | { readonly kind: "push" | "pop"; readonly operand: Operand }
  | { readonly kind: "exchange"; readonly a: Operand; readonly b: Operand }
  | { readonly kind: "leave" | "return" | "syscall" | "invalid" }
  /** `through`: what holds the target, memory or a register. */
  | { readonly kind: "indirectJump"; readonly through: Operand }
  | { readonly kind: "call"; readonly target: number | undefined; readonly through: Operand }
  | {
      readonly kind: "jump";
      readonly target: number;
      readonly conditional: boolean;
    }
  /** Anything else: what it writes is unknown afterwards. */
  | { readonly kind: "other"; readonly writes: readonly number[]; readonly memory: Operand | undefined }
);

/** The operations of a stretch of code, by address. */
export function readOperations(region: Region, span: Span): Operation[] {
  const list: Operation[] = [];
  const { InstructionInfoFactory } = iced();
  const factory = new InstructionInfoFactory();
  region.visit(span.start, span.end, (instruction, address) => {
    const next = address + Math.max(1, instruction.length);
    list.push({ address, next, ...reduce(instruction, factory) } as Operation);
  });
  factory.free();
  return list;
}

type Reduced = Operation extends infer O ? (O extends unknown ? Omit<O, "address" | "next"> : never) : never;

function reduce(
  instruction: Instruction,
  factory: InstanceType<ReturnType<typeof iced>["InstructionInfoFactory"]>,
): Reduced {
  const { Code, Mnemonic } = iced();
  if (instruction.code === Code.Syscall) return { kind: "syscall" };
  if (instruction.code === Code.INVALID) return { kind: "invalid" };
  const control = reduceControl(instruction);
  if (control) return control;
  const { mnemonic } = instruction;
  const operand = (index: number): Operand => readOperand(instruction, index);
  switch (mnemonic) {
    case Mnemonic.Mov:
    case Mnemonic.Movsxd:
      return { kind: "move", to: operand(0), from: operand(1) };
    case Mnemonic.Lea:
      return { kind: "address", to: operand(0), from: memoryOperand(instruction) };
    case Mnemonic.Movups:
    case Mnemonic.Movaps:
    case Mnemonic.Movdqu:
    case Mnemonic.Movdqa:
      return { kind: "copy", to: operand(0), from: operand(1) };
    case Mnemonic.Push:
      return { kind: "push", operand: operand(0) };
    case Mnemonic.Pop:
      return { kind: "pop", operand: operand(0) };
    case Mnemonic.Leave:
      return { kind: "leave" };
    case Mnemonic.Xchg:
      return { kind: "exchange", a: operand(0), b: operand(1) };
    case Mnemonic.Xor:
    case Mnemonic.Sub:
    case Mnemonic.Add: {
      const reduced = reduceArithmetic(instruction, mnemonic);
      if (reduced) return reduced;
      break;
    }
    case Mnemonic.Or: {
      // or r, -1: a number in short.
      const from = operand(1);
      if (from.kind === "number" && from.number === -1) return { kind: "move", to: operand(0), from };
    }
  }
  if (isConditionalMove(instruction)) return { kind: "either", to: operand(0), from: operand(1) };
  return reduceRest(instruction, factory);
}

function isConditionalMove(instruction: Instruction): boolean {
  const { Mnemonic } = iced();
  return instruction.mnemonic >= Mnemonic.Cmova && instruction.mnemonic <= Mnemonic.Cmovs;
}

function reduceArithmetic(instruction: Instruction, mnemonic: number): Reduced | undefined {
  const { Mnemonic } = iced();
  const to = readOperand(instruction, 0);
  const from = readOperand(instruction, 1);
  if (mnemonic === Mnemonic.Xor || mnemonic === Mnemonic.Sub) {
    const same = to.kind === "register" && from.kind === "register" && to.register === from.register;
    if (same && to.bits >= 32 && to.bits === from.bits)
      return { kind: "move", to, from: { kind: "number", number: 0 } };
  }
  if (mnemonic === Mnemonic.Xor || from.kind !== "number" || to.kind !== "register") return undefined;
  return { kind: "add", to, amount: mnemonic === Mnemonic.Sub ? -from.number : from.number };
}

function reduceControl(instruction: Instruction): Reduced | undefined {
  const { FlowControl } = iced();
  switch (instruction.flowControl) {
    case FlowControl.Next:
      return undefined;
    case FlowControl.UnconditionalBranch:
    case FlowControl.ConditionalBranch:
    case FlowControl.XbeginXabortXend: {
      const target = Number(instruction.nearBranchTarget);
      const conditional = instruction.flowControl !== FlowControl.UnconditionalBranch;
      return { kind: "jump", target, conditional };
    }
    case FlowControl.Call:
      return { kind: "call", target: Number(instruction.nearBranchTarget), through: { kind: "other" } };
    case FlowControl.IndirectCall:
      return { kind: "call", target: undefined, through: readOperand(instruction, 0) };
    case FlowControl.IndirectBranch:
      return { kind: "indirectJump", through: readOperand(instruction, 0) };
    case FlowControl.Return:
      return { kind: "return" };
    default:
      // hlt, ud2, int3: nothing follows; other interrupts come back.
      return instruction.flowControl === FlowControl.Interrupt ||
        instruction.flowControl === FlowControl.Exception
        ? { kind: "invalid" }
        : undefined;
  }
}

/** Whatever it writes. */
function reduceRest(
  instruction: Instruction,
  factory: InstanceType<ReturnType<typeof iced>["InstructionInfoFactory"]>,
): Reduced {
  const { OpAccess } = iced();
  const info = factory.info(instruction);
  const isWrite = (access: number): boolean => access >= OpAccess.Write && access <= OpAccess.ReadCondWrite;
  const writes: number[] = [];
  for (const used of info.usedRegisters() as { register: number; access: number; free(): void }[]) {
    const number = registerNumber(used.register) ?? vectorHalves(used.register);
    if (isWrite(used.access) && number !== undefined) writes.push(...[number].flat());
    used.free();
  }
  const writesMemory = isWrite(info.op0Access) && instruction.opCount > 0 && isMemory(instruction, 0);
  info.free();
  return { kind: "other", writes, memory: writesMemory ? memoryOperand(instruction) : undefined };
}

function isMemory(instruction: Instruction, index: number): boolean {
  return instruction.opKind(index) === iced().OpKind.Memory;
}

function readOperand(instruction: Instruction, index: number): Operand {
  const { OpKind } = iced();
  const kind = instruction.opKind(index);
  if (kind === OpKind.Register) {
    const register = registerNumber(instruction.opRegister(index));
    const halves = vectorHalves(instruction.opRegister(index));
    if (halves) return { kind: "vector", vector: halves[0] - VECTOR_LOW };
    if (register === undefined) return { kind: "other" };
    return { kind: "register", register, bits: registerBits(instruction.opRegister(index)) };
  }
  if (kind === OpKind.Memory) return memoryOperand(instruction);
  if (kind >= OpKind.Immediate8 && kind <= OpKind.Immediate32to64) {
    return { kind: "number", number: Number(BigInt.asIntN(64, instruction.immediate(index))) };
  }
  return { kind: "other" };
}

function memoryOperand(instruction: Instruction): Operand {
  const { Register: Names, MemorySizeExt } = iced();
  const size = MemorySizeExt.size(instruction.memorySize);
  const { memoryBase, memoryIndex } = instruction;
  const displacement = Number(BigInt.asIntN(64, instruction.memoryDisplacement));
  const plain = memoryIndex === Names.None && memoryBase !== Names.RIP && memoryBase !== Names.None;
  // Thread-local storage.
  const elsewhere = instruction.segmentPrefix === Names.FS || instruction.segmentPrefix === Names.GS;
  const base = plain && !elsewhere ? registerNumber(memoryBase) : undefined;
  const absolute = instruction.isIpRelMemoryOperand ? Number(instruction.ipRelMemoryAddress) : undefined;
  return { kind: "memory", base, absolute, displacement, size };
}

/** Number of the general-purpose register that a register is part of. */
function registerNumber(register: number): number | undefined {
  const { Register: Names, RegisterExt } = iced();
  if (register === Names.None || !RegisterExt.isGPR(register)) return undefined;
  return RegisterExt.fullRegister(register) - Names.RAX;
}

/** Numbers, beside those of general registers, of the lower and the upper 8 bytes of a vector register. */
function vectorHalves(register: number): [number, number] | undefined {
  const { Register: Names, RegisterExt } = iced();
  if (register === Names.None || !RegisterExt.isVectorRegister(register)) return undefined;
  const vector = RegisterExt.fullRegister(register) - Names.ZMM0;
  return vector < 16 ? [VECTOR_LOW + vector, VECTOR_HIGH + vector] : undefined;
}

/** 0 for ah and its like, which are not the lowest bits. */
function registerBits(register: number): number {
  const { Register: Names, RegisterExt } = iced();
  return register >= Names.AH && register <= Names.BH ? 0 : RegisterExt.size(register) * 8;
}

/** Where a push or pop works. */
export const STACK: number = Register.rsp;
