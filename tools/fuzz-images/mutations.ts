/** Random changes of bytes and of JSON values, the same for the same seed. */

/** A random number from 0 to `limit`, exclusive. */
export type Random = (limit: number) => number;

/** mulberry32: small, and good enough to choose places. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % Math.max(limit, 1);
  };
}

const WORDS: readonly bigint[] = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0xfffn,
  0x1000n,
  0x7fff_ffffn,
  0xffff_ffffn,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 64n - 1n,
];

/** A copy with some bits, bytes, words or pieces changed. */
export function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  let result: Buffer = Buffer.from(bytes);
  for (let count = 1 + random(8); count > 0 && result.length > 16; count--) {
    const at = random(result.length - 8);
    switch (random(7)) {
      case 0:
        result[at] = (result[at] ?? 0) ^ (1 << random(8));
        break;
      case 1:
        result[at] = random(256);
        break;
      case 2:
        result.writeBigUInt64LE(BigInt.asUintN(64, WORDS[random(WORDS.length)] ?? 0n), at);
        break;
      case 3:
        result.writeUInt32LE(Number(BigInt.asUintN(32, WORDS[random(WORDS.length)] ?? 0n)), at);
        break;
      case 4:
        result.writeUInt16LE(random(65_536), at);
        break;
      case 5:
        result.copyWithin(at, random(result.length), random(result.length));
        break;
      default:
        if (random(8) === 0) result = result.subarray(0, at);
    }
  }
  return result;
}

const STRANGE: readonly unknown[] = [
  null,
  -1,
  0,
  1,
  4096,
  2 ** 21,
  2 ** 32,
  2 ** 46,
  2 ** 47 - 2 ** 21,
  2 ** 53 - 1,
  2 ** 63,
  0.5,
  1e308,
  "",
  "/",
  "..",
  "/../etc",
  "\0",
  "x".repeat(5000),
  [],
  {},
  true,
  [[]],
];

/** A copy of a JSON value in which some places hold something else. */
export function mutatedValue(value: unknown, random: Random): unknown {
  const result: unknown = structuredClone(value);
  for (let count = 1 + random(3); count > 0; count--) change(result, random);
  return result;
}

function change(value: unknown, random: Random): void {
  if (typeof value !== "object" || value === null) return;
  const record = value as Record<string, unknown>;
  const names = Object.keys(record);
  const name = names[random(names.length)];
  if (name === undefined) return;
  const inner = record[name];
  if (typeof inner === "object" && inner !== null && random(4) !== 0) {
    change(inner, random);
    return;
  }
  if (random(10) === 0) delete record[name];
  else if (typeof inner === "number" && random(2) === 0)
    record[name] = inner + (random(2) === 0 ? 1 : -1) * 2 ** random(48);
  // A copy: a later change of this place would change the list, and could make a value part of itself.
  else record[name] = structuredClone(STRANGE[random(STRANGE.length)]);
}
