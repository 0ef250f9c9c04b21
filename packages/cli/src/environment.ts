/** The environment variables that the command line looks at. */

/** Name and meaning of each. */
export const environment: readonly (readonly [string, string])[] = [
  ["SPORE_HOME", "Where images and their layers are kept. Default: $XDG_CACHE_HOME/spore or ~/.cache/spore."],
  ["SPORE_MONITOR", "The monitor to start, instead of the checkout's own."],
  ["SPORE_DEBUG", "If set, an error also prints where in Spore it happened."],
  ["SPORE_LAUNCH_RECORD", "If set and empty, `run` does not start from what an earlier run left for it."],
];
