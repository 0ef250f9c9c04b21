/** What an app may import: the typed configuration file. */

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
}

/** Types the configuration; returns it unchanged. */
export function defineConfig(config: SporeConfig): SporeConfig {
  return config;
}
