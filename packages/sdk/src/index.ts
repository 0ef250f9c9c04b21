/** What an app may import: the typed configuration file, its flags, and what it can know of being frozen. */

export { type FeatureFlags, type FlagsOptions, type FlagValue, openFlags } from "./flags.ts";
export type { Hold, RestoreHandler, RestoreInfo, SuspendHandler } from "./lifecycle.ts";
export { holdAwake, machine, onRestore, onSuspend, ready, waitUntil } from "./lifecycle.ts";

/** One published port: `host` 0 picks a free one. */
export interface PublishOption {
  /** Host address, 127.0.0.1 if absent. */
  address?: string;
  /** Port on the host; 0 picks a free one. */
  host: number;
  /** Port inside the guest. */
  guest: number;
}

/** One file or directory that is added to the image. */
export interface IncludeOption {
  /** Path on the host, relative to the project. */
  host: string;
  /** Absolute path in the guest; the same path as on the host if absent. */
  guest?: string;
}

/** How to find out that an app is well: HTTP GET requests. */
export interface HealthOption {
  /** Path that is asked for; an answer below 400 is well. */
  path: string;
  /** Port that is asked; the first that the app listens on if absent. */
  port?: number;
  /** Milliseconds from one request to the next; 10000 if absent. */
  interval?: number;
  /** Milliseconds after which an answer counts as a failure; 2000 if absent. */
  timeout?: number;
  /** So many failures in a row mean that the app is not well; 3 if absent. */
  failures?: number;
}

/** What `spore.config.ts` may say: the fields of the flags of `spore run` and `spore build`. */
export interface SporeConfig {
  /** Entry module, relative to the project. */
  entry?: string;
  /** Ports to publish; every port the app listens on if absent. Strings are as after `--publish`. */
  publish?: (string | PublishOption)[];
  /** Environment of the program. */
  env?: Record<string, string>;
  /** File with `KEY=VALUE` lines, relative to the project. */
  envFile?: string;
  /** Guest memory: "256M", "1G", or bytes. */
  memory?: string | number;
  /** Files and directories to add. Strings are as after `--include`. */
  include?: (string | IncludeOption)[];
  /** Working directory in the guest. */
  cwd?: string;
  /** Node major version. */
  node?: 22 | 24 | 26;
  /** Arguments of the program, used when none are given after `--`. */
  args?: string[];
  /** Leave system calls unpatched; everything goes through the trap. */
  patch?: boolean;
  /**
   * Which pieces of the library OS the image gets: all of them, what its code can use ("derived", the
   * default), or what was used while it was recorded (spore.recording.json).
   */
  pieces?: "full" | "derived" | "recorded";
  /** Ports that may be published; the monitor publishes no other. Every port if absent. */
  ports?: number[];
  /**
   * Where the app may connect to: "10.0.0.0/8", "[fd00::/8]", "db.example.com", "*.example.com", each
   * perhaps with ":PORT". The monitor refuses everything else. Everywhere if absent.
   */
  destinations?: string[];
  /** What of the machine it may use: its standard streams, sockets beyond the guest. Both if absent. */
  devices?: ("console" | "network")[];
  /** Whom the program runs as; root of the guest if absent. */
  user?: { uid: number; gid: number };
  /** The signal that asks it to stop; SIGTERM if absent. */
  stopSignal?: "SIGTERM" | "SIGINT" | "SIGQUIT" | "SIGHUP" | "SIGUSR1" | "SIGUSR2";
  /** Health check: the path, or all of it. */
  health?: string | HealthOption;
}

/** Types the configuration; returns it unchanged. */
export function defineConfig(config: SporeConfig): SporeConfig {
  return config;
}
