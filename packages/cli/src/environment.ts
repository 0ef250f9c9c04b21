/** The environment variables that the command line looks at. */

/** Name and meaning of each. */
export const environment: readonly (readonly [string, string])[] = [
  [
    "SPORE_HOME",
    "Where images and their layers are kept, and in its folder cloud the daemon's state. Default: $XDG_CACHE_HOME/spore or ~/.cache/spore, and $XDG_STATE_HOME/spore or ~/.local/state/spore.",
  ],
  ["SPORE_URL", "API of a daemon, http://HOST:PORT. Default: the daemon of this user."],
  ["SPORE_TOKEN", "The token for it, from `spore token --create`."],
  ["SPORE_MONITOR", "The monitor to start, instead of the checkout's own."],
  ["SPORE_FAULT", "For tests: a place at which the daemon ends itself."],
  ["SPORE_URLS", "Set by `spore fork --then` for its command: the addresses that listen."],
  ["SPORE_DEBUG", "If set, an error also prints where in Spore it happened."],
  ["SPORE_LAUNCH_RECORD", "If set and empty, `run` does not start from what an earlier run left for it."],
];
