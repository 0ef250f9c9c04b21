/** The systemd unit of the daemon. */

import type { Context } from "../command.ts";

/** Variables that the daemon looks at. */
const passed = [
  "SPORE_HOME",
  "XDG_STATE_HOME",
  "SPORE_MONITOR",
  "HOME",
  "PATH",
  "MALLOC_ARENA_MAX",
  "MALLOC_TRIM_THRESHOLD_",
];

/** A unit that runs the daemon as it would be run now. */
export function unit(words: readonly string[], env: Context["env"]): string {
  const variables = passed.flatMap((name) =>
    env[name] ? [`Environment=${quoted(`${name}=${env[name]}`)}`] : [],
  );
  return [
    "[Unit]",
    "Description=Spore, a unikernel cloud on this machine",
    "After=network-online.target",
    "Wants=network-online.target",
    "",
    "[Service]",
    `ExecStart=${words.map(quoted).join(" ")}`,
    ...variables,
    "# Instances live on while the daemon is restarted; it finds them again.",
    "KillMode=process",
    "KillSignal=SIGHUP",
    "Restart=always",
    "RestartSec=1",
    "LimitNOFILE=65536",
    "# A dump of a monitor would hold the memory of its guest.",
    "LimitCORE=0",
    "# Quotas of tenants are cgroups below the daemon's own.",
    "Delegate=cpu memory",
    "DelegateSubgroup=daemon",
    "",
    "[Install]",
    "WantedBy=default.target",
    "",
  ].join("\n");
}

/** A word as systemd reads it: quotes, and `%` and `$` that are not its own. */
function quoted(word: string): string {
  const escaped = word.replace(/[\\"]/g, "\\$&").replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /[\s"'\\{}]/.test(word) ? `"${escaped}"` : escaped;
}
