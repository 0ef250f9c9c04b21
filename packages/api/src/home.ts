/** Where the daemon keeps its state, and where it listens for the command line. */

type Environment = Readonly<Record<string, string | undefined>>;

/** $SPORE_HOME/cloud, else the user's state directory for Spore. */
export function daemonHome(env: Environment): string {
  if (env["SPORE_HOME"]) return `${env["SPORE_HOME"].replace(/\/+$/, "")}/cloud`;
  const state = env["XDG_STATE_HOME"] || `${env["HOME"] ?? ""}/.local/state`;
  return `${state.replace(/\/+$/, "")}/spore`;
}

/** The Unix socket of the API; only the user of the daemon can open it. */
export function daemonSocket(home: string): string {
  return `${home}/api.sock`;
}
