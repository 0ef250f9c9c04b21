/** Writes the code that patched sites jump to. */
import { iced } from "./iced.ts";
import type { PatchEntry } from "./report.ts";
import { JUMP_SIZE, type Window } from "./window.ts";

/** Stubs start at multiples of this. */
const STUB_ALIGN = 16;
const LEA_SIZE = 7;

/** A stub that was placed. */
export interface Stub {
  readonly window: Window;
  readonly address: number;
}

/** Code that grows at a fixed address. */
export class StubWriter {
  readonly #base: number;
  readonly #entry: PatchEntry;
  #bytes: number[] = [];

  constructor(base: number, entry: PatchEntry) {
    this.#base = base;
    this.#entry = entry;
    // The part that all stubs share. The syscall instruction destroys rcx and
    // r11, so no program expects anything in them.
    if (entry.kind === "jump") {
      this.#bytes.push(0x49, 0xbb, ...little(BigInt(entry.address), 8)); // movabs r11, entry
      this.#bytes.push(0x41, 0xff, 0xe3); // jmp r11
    }
  }

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  /** Adds the stub of a window, or answers undefined if it would lie too far away. */
  add(window: Window): Stub | undefined {
    const before = this.#bytes.length;
    while (this.#bytes.length % STUB_ALIGN !== 0) this.#bytes.push(0xcc);
    const address = this.#here;
    const near = isNear(address - (window.start + JUMP_SIZE)) && this.#emit(window);
    if (near) return { window, address };
    this.#bytes.length = before;
    return undefined;
  }

  get #here(): number {
    return this.#base + this.#bytes.length;
  }

  #emit(window: Window): boolean {
    if (!this.#move(window, window.before)) return false;
    if (this.#entry.kind === "syscall") {
      this.#bytes.push(0x0f, 0x05);
    } else {
      // Without instructions to run behind the call it returns past the window.
      const resume = window.after.length === 0 ? window.end : this.#here + LEA_SIZE + JUMP_SIZE;
      const distance = resume - (this.#here + LEA_SIZE);
      if (!isNear(distance)) return false;
      this.#bytes.push(0x48, 0x8d, 0x0d, ...little(BigInt(distance), 4)); // lea rcx, [rip + distance]
      this.#jump(this.#base);
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

/** What is written over a window: the jump, then nops that are never reached. */
export function windowBytes(stub: Stub): Uint8Array {
  const { start, end } = stub.window;
  const bytes = new Uint8Array(end - start).fill(0x90);
  bytes.set([0xe9, ...little(BigInt(stub.address - (start + JUMP_SIZE)), 4)]);
  return bytes;
}

function isNear(distance: number): boolean {
  return distance >= -(2 ** 31) && distance < 2 ** 31;
}

function little(value: bigint, size: number): number[] {
  const bits = BigInt.asUintN(size * 8, value);
  return Array.from({ length: size }, (_, index) => Number((bits >> BigInt(index * 8)) & 0xffn));
}
