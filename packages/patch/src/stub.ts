/** Writes the code that patched sites jump to. */
import type { Instruction } from "iced-x86";
import { iced } from "./iced.ts";
import type { PatchEntry, SiteKind } from "./report.ts";
import { JUMP_SIZE, SITE_SIZE, type Window } from "./window.ts";

/** Stubs start at multiples of this. */
const STUB_ALIGN = 16;
const LEA_SIZE = 7;
/** More than a stub has before its jump: `LONGEST` in kernel/src/signal/stub.rs. */
const LOOK_AHEAD = 80;

/** A stub that was placed. */
export interface Stub {
  readonly window: Window;
  readonly address: number;
  readonly size: number;
}

/** `lea REGISTER, [rip + distance]` without the distance: the return address. */
const LEA: Readonly<Record<SiteKind, readonly number[]>> = {
  syscall: [0x48, 0x8d, 0x0d], // rcx
  cpuid: [0x48, 0x8d, 0x15], // rdx
};
const ITSELF: Readonly<Record<SiteKind, readonly number[]>> = { syscall: [0x0f, 0x05], cpuid: [0x0f, 0xa2] };

/** Code that grows at a fixed address. */
export class StubWriter {
  readonly #base: number;
  readonly #entry: PatchEntry;
  #bytes: number[] = [];
  /** Where the part is that all stubs of a kind share. */
  readonly #shared: Record<SiteKind, number> = { syscall: 0, cpuid: 0 };

  constructor(base: number, entry: PatchEntry) {
    this.#base = base;
    this.#entry = entry;
    if (entry.kind !== "jump") return;
    // The instructions destroy these registers, so no program expects anything in them.
    this.#shared.syscall = this.#here;
    this.#bytes.push(0x49, 0xbb, ...little(BigInt(entry.syscall), 8), 0x41, 0xff, 0xe3); // mov r11, entry; jmp r11
    this.#align();
    this.#shared.cpuid = this.#here;
    this.#bytes.push(0x48, 0xbb, ...little(BigInt(entry.cpuid), 8), 0xff, 0xe3); // mov rbx, entry; jmp rbx
  }

  /** Everything, and room behind it: the library OS looks so far ahead of an interrupted stub. */
  get bytes(): Uint8Array {
    return Uint8Array.from([...this.#bytes, ...Array.from({ length: LOOK_AHEAD }, () => 0xcc)]);
  }

  /** Instructions that a call takes. */
  get callLength(): number {
    return this.#entry.kind === "jump" ? 2 : 1;
  }

  /** Whether instructions are the call for a kind of site, with `resume` as the return address. */
  isCall(kind: SiteKind, call: readonly Instruction[], resume: number): boolean {
    const { Code, Register } = iced();
    const [first, second] = call;
    if (this.#entry.kind !== "jump") return first?.code === (kind === "syscall" ? Code.Syscall : Code.Cpuid);
    return (
      first?.code === Code.Lea_r64_m &&
      first.op0Register === (kind === "syscall" ? Register.RCX : Register.RDX) &&
      first.isIpRelMemoryOperand &&
      Number(first.ipRelMemoryAddress) === resume &&
      second?.code === Code.Jmp_rel32_64 &&
      Number(second.nearBranchTarget) === this.#shared[kind]
    );
  }

  /** Adds the stub of a window, or answers undefined if it would lie too far away. */
  add(window: Window): Stub | undefined {
    const before = this.#bytes.length;
    this.#align();
    const address = this.#here;
    const near = isNear(address - (window.start + JUMP_SIZE)) && this.#emit(window);
    if (near) return { window, address, size: this.#here - address };
    this.#bytes.length = before;
    return undefined;
  }

  /** The bytes of a stub. */
  codeOf({ address, size }: Stub): Uint8Array {
    const at = address - this.#base;
    return Uint8Array.from(this.#bytes.slice(at, at + size));
  }

  get #here(): number {
    return this.#base + this.#bytes.length;
  }

  #align(): void {
    while (this.#bytes.length % STUB_ALIGN !== 0) this.#bytes.push(0xcc);
  }

  #emit(window: Window): boolean {
    const { kind } = window.site;
    if (!this.#move(window, window.before)) return false;
    if (this.#entry.kind !== "jump") {
      this.#bytes.push(...ITSELF[kind]);
    } else {
      // Without instructions to run behind the call it returns past the window.
      const resume = window.after.length === 0 ? window.end : this.#here + LEA_SIZE + JUMP_SIZE;
      const distance = resume - (this.#here + LEA_SIZE);
      if (!isNear(distance)) return false;
      this.#bytes.push(...LEA[kind], ...little(BigInt(distance), 4));
      this.#jump(this.#shared[kind]);
      if (window.after.length === 0) return true;
    }
    if (!this.#move(window, window.after)) return false;
    return window.returns ? this.#jump(window.end) : true;
  }

  /** Copies instructions here; what is relative to their address is adjusted. */
  #move(window: Window, addresses: readonly number[]): boolean {
    if (addresses.length === 0) return true;
    const { BlockEncoder, BlockEncoderOptions } = iced();
    const encoder = new BlockEncoder(64, BlockEncoderOptions.None);
    try {
      for (const address of addresses) {
        const instruction = window.site.region.decode(address);
        encoder.add(instruction);
        instruction.free();
      }
      this.#bytes.push(...encoder.encode(BigInt(this.#here)));
      return true;
    } catch {
      // The encoder's only objection to valid code is an operand out of reach.
      return false;
    } finally {
      encoder.free();
    }
  }

  #jump(target: number): boolean {
    const distance = target - (this.#here + JUMP_SIZE);
    if (!isNear(distance)) return false;
    this.#bytes.push(0xe9, ...little(BigInt(distance), 4));
    return true;
  }
}

/** What is written over a window: the jump, then what is never reached. */
export function windowBytes(stub: Stub): Uint8Array {
  const { start, end, keepsSite, site } = stub.window;
  const bytes = new Uint8Array(end - start).fill(0x90);
  bytes.set([0xe9, ...little(BigInt(stub.address - (start + JUMP_SIZE)), 4)]);
  if (keepsSite) bytes.set(ITSELF[site.kind], end - start - SITE_SIZE);
  return bytes;
}

function isNear(distance: number): boolean {
  return distance >= -(2 ** 31) && distance < 2 ** 31;
}

function little(value: bigint, size: number): number[] {
  const bits = BigInt.asUintN(size * 8, value);
  return Array.from({ length: size }, (_, index) => Number((bits >> BigInt(index * 8)) & 0xffn));
}
