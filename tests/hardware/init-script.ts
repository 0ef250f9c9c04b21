/**
 * The first process of the emulated machine: brings KVM up, runs every program
 * and says on the console what came of it. `readConsole` is its counterpart.
 */

/** One run of the monitor with the configuration /configs/NAME.json. */
export interface Run {
  /** Letters, digits and dashes. */
  readonly name: string;
  /** A server: once it listens, this URL is fetched and the server stopped by SIGTERM. */
  readonly server?: string;
  /**
   * A server that is frozen once its URL was fetched; two machines go on from there with the
   * configuration /configs/NAME-again.json, and are NAME-again-1 and NAME-again-2.
   */
  readonly isFrozen?: boolean;
}

/** Where a server that is to be frozen takes orders, and where it is frozen to. */
export const ORDERS = "/tmp/orders";
export const SNAPSHOT = "/tmp/frozen.snap";

/** What came of it. */
export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  /** As a shell says it: 128 + n for a signal. */
  readonly status: number;
}

const MARK = "#spore";
/** Longest time for one run, in seconds; one that hangs must not hide the others. */
const LIMIT = 60;

/** The script for busybox's shell. */
export function initScript(runs: readonly Run[], modules: readonly string[]): string {
  return `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ip link set lo up
# The kernel must not write between the lines.
dmesg -n 1
for module in ${modules.join(" ")}; do insmod /modules/$module; done
if [ ! -e /dev/kvm ]; then
  echo "${MARK} no-kvm"
  dmesg | tail -n 30
  poweroff -f
fi
report() {
  echo; echo "${MARK} stdout $1"; cat /tmp/out
  echo; echo "${MARK} stderr $1"; cat /tmp/err
  echo; echo "${MARK} status $1 $2"
}
run() {
  timeout -s KILL ${LIMIT} spore-monitor --config /configs/$1.json </dev/null >/tmp/out 2>/tmp/err
  report $1 $?
}
# serve CONFIG URL COMMAND NAME: the command ends it.
serve() {
  mkfifo /tmp/events
  timeout -s KILL ${LIMIT} spore-monitor --config /configs/$1.json </dev/null >/tmp/events 2>/tmp/err &
  server=$!
  while read -r event; do
    case $event in *'"listening"'*)
      wget -q -O /tmp/out $2 2>&1
      $3 ;;
    esac
  done </tmp/events
  wait $server
  report $4 $?
  rm /tmp/events
}
stop() { kill -TERM $server; }
freeze() { order ${ORDERS} '{"freeze":"${SNAPSHOT}","exit":true}' >&2; }
${runs.map(commandsOf).join("\n")}
echo "${MARK} done"
poweroff -f
`;
}

function commandsOf({ name, server, isFrozen = false }: Run): string {
  if (server === undefined) return `run ${name}`;
  if (!isFrozen) return `serve ${name} ${server} stop ${name}`;
  const again = [1, 2].map((turn) => `serve ${name}-again ${server} stop ${name}-again-${turn}`);
  return [`serve ${name} ${server} freeze ${name}`, ...again].join("\n");
}

/** Outcomes by name. Throws an error that says what went wrong with the machine itself. */
export function readConsole(text: string): Map<string, Outcome> {
  const parts = text.split(`\n${MARK} `).slice(1);
  const outcomes = new Map<string, Outcome>();
  let stdout = "";
  let stderr = "";
  for (const part of parts) {
    const end = part.indexOf("\n");
    const [what, name, status] = (end < 0 ? part : part.slice(0, end)).split(" ");
    const body = end < 0 ? "" : part.slice(end + 1);
    if (what === "no-kvm") throw new Error(`kvm-amd does not come up in the emulated machine:\n${body}`);
    else if (what === "stdout") stdout = body;
    else if (what === "stderr") stderr = body;
    else if (what === "status" && name !== undefined)
      outcomes.set(name, { stdout, stderr, status: Number(status) });
    else if (what === "done") return outcomes;
  }
  throw new Error(`the emulated machine did not get to its end; its console says:\n${text}`);
}
