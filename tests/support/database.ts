/** A real PostgreSQL for tests, in a folder of its own. */

import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Running, start } from "./process.ts";

const INSTALLED = "/usr/lib/postgresql";
/** PostgreSQL does not run as root; this user owns nothing else. */
const NOBODY = 65_534;

/** Starts one at a free port of 127.0.0.1; anybody may connect. `await using` stops it. */
export async function startDatabase(folder: string): Promise<Running & { readonly port: number }> {
  const [version = ""] = readdirSync(INSTALLED).sort((a, b) => Number(b) - Number(a));
  const bin = join(INSTALLED, version, "bin");
  const data = join(folder, "database");
  mkdirSync(data);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) {
    chownSync(data, NOBODY, NOBODY);
    chmodSync(folder, 0o755);
  }
  const user = isRoot ? ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"] : [];
  const command = (...words: string[]): [string, string[]] => {
    const [first = "", ...rest] = [...user, ...words];
    return [first, rest];
  };
  const env = { LC_ALL: "C" };
  execFileSync(...command(join(bin, "initdb"), "-D", data, "-U", "spore", "--auth=trust", "-N"), {
    env: { ...process.env, ...env },
    cwd: data,
    stdio: "pipe",
  });
  const port = await freePort();
  const flags = ["-D", data, "-p", String(port), "-h", "127.0.0.1", "-k", data, "-F"];
  const running = start(...command(join(bin, "postgres"), ...flags), { env, cwd: data, deadline: 600_000 });
  await running.says("stderr", /ready to accept connections/);
  return Object.assign(running, { port });
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((listening) => server.once("listening", listening));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}
