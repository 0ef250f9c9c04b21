/** What a command left that was killed before it could remove it. */

import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

/** Launch configurations are named by the process that wrote them. */
const configuration = /^spore-(\d+)-[0-9a-z]+\.json$/;
/** Sockets of pools by their user. */
const socket = /^spore-shells-(\d+)-[0-9a-z-]+\.sock$/;

/** Removes what this user's dead commands have left in a folder. */
export function sweepLeftovers(folder: string): void {
  let bound: string | null = null;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const writer = configuration.exec(name)?.[1];
    const owner = socket.exec(name)?.[1];
    if (writer === undefined && Number(owner) !== process.getuid?.()) continue;
    if (statSync(path, { throwIfNoEntry: false })?.uid !== process.getuid?.()) continue;
    bound ??= readFileSync("/proc/net/unix", "utf8");
    const used = writer === undefined ? bound.includes(` ${path}\n`) : lives(Number(writer));
    if (!used) rmSync(path, { force: true });
  }
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === "EPERM";
  }
}
