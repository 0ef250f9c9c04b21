/**
 * Randomness that V8 and Node.js hold in memory, and that would come twice from
 * two copies of it. OpenSSL is no part of this: it notices by the process id.
 */

/**
 * V8's generator cannot be seeded from outside. `Math.random` draws from it until
 * the first freeze, and from then on from one of our own, which can.
 * Gives the function that seeds: 32 bytes in hexadecimal digits.
 */
export function freshMathRandom(): (seed: string) => void {
  const state = new Int32Array(4);
  let draw = Math.random;
  const own = (): number => ((word(state) >>> 5) * 2 ** 26 + (word(state) >>> 6)) / 2 ** 53;
  // A method, so that it is no constructor, as the original is none.
  const { random } = {
    random(): number {
      return draw();
    },
  };
  Math.random = random;
  return (seed) => {
    for (let index = 0; index < 4; index++) {
      state[index] = Number.parseInt(seed.slice(8 * index, 8 * index + 8), 16);
    }
    for (let round = 0; round < 12; round++) word(state);
    draw = own;
  };
}

/** sfc32 (Chris Doty-Humphrey, PractRand): 128 bits of state with a counter in it. */
function word(state: Int32Array): number {
  const [a = 0, b = 0, c = 0, counter = 0] = [state[0], state[1], state[2], state[3]];
  const sum = (a + b + counter) | 0;
  state[3] = counter + 1;
  state[0] = b ^ (b >>> 9);
  state[1] = c + (c << 3);
  state[2] = ((c << 21) | (c >>> 11)) + sum;
  return sum;
}

/** UUIDs that crypto.randomUUID prepares at a time. */
const UUIDS = 128;
/** Numbers that crypto.randomInt prepares at a time. */
const INTEGERS = 1024;

/**
 * node:crypto prepares UUIDs and integers ahead, and gives no way to drop them. Gives a
 * function that marks them as used up; the next call then draws them all, so that they
 * are prepared anew: a restore itself costs nothing.
 */
export function freshCaches(): () => void {
  const crypto = require("node:crypto") as typeof import("node:crypto");
  const { randomInt, randomUUID } = crypto;
  const uuids = new Cache(UUIDS, () => randomUUID());
  const integers = new Cache(INTEGERS, () => randomInt(2));
  uuids.guard(crypto, "randomUUID");
  uuids.guard(crypto, "randomUUIDv7");
  uuids.guard(Object.getPrototypeOf(globalThis.crypto) as object, "randomUUID");
  integers.guard(crypto, "randomInt");
  (require("node:module") as typeof import("node:module")).syncBuiltinESMExports();
  return () => {
    uuids.stale = true;
    integers.stale = true;
  };
}

/** What was prepared ahead. */
class Cache {
  readonly #size: number;
  readonly #draw: () => unknown;
  stale = false;

  constructor(size: number, draw: () => unknown) {
    this.#size = size;
    this.#draw = draw;
  }

  /** Puts a function in the place of one that draws from here. Not every release has every one. */
  guard(owner: object, name: string): void {
    const functions = owner as Record<string, ((...args: unknown[]) => unknown) | undefined>;
    const original = functions[name];
    if (original === undefined) return;
    const refresh = (): void => {
      this.stale = false;
      for (let count = 0; count < this.#size; count++) this.#draw();
    };
    const cache = this;
    const guarded = {
      [name](this: unknown, ...args: unknown[]): unknown {
        if (cache.stale) refresh();
        return original.apply(this, args);
      },
    }[name] as (...args: unknown[]) => unknown;
    Object.defineProperties(guarded, Object.getOwnPropertyDescriptors(original));
    functions[name] = guarded;
  }
}
