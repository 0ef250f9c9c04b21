/** What a benchmark yields: a row with ours beside the native program. */

/** Of a number of samples. */
export interface Spread {
  readonly min: number;
  readonly p50: number;
  readonly p99: number;
}

/** One line of the table, one object of `--json`. */
export interface Row {
  readonly bench: string;
  readonly case: string;
  readonly unit: string;
  readonly ours: Spread;
  readonly native: Spread;
  /** Median of ours by that of the native program; null where that is 0. */
  readonly ratio: number | null;
}

/** The spread of samples. Throws without any. */
export function spread(samples: readonly number[]): Spread {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number => {
    const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
    if (value === undefined) throw new Error("a benchmark without samples");
    return rounded(value);
  };
  return { min: at(0), p50: at(0.5), p99: at(0.99) };
}

/** Makes a row. */
export function row(
  place: { readonly bench: string; readonly case: string; readonly unit: string },
  ours: Spread,
  native: Spread,
): Row {
  return { ...place, ours, native, ratio: native.p50 === 0 ? null : rounded(ours.p50 / native.p50) };
}

/** Three digits after the point are more than any of these measurements is good for. */
function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
