/**
 * `node tools/fuzz-api/main.ts [--seconds N] [--seed N]`: gives everything that the
 * OpenAPI document allows, and what it does not, to a daemon of its own, by
 * schemathesis. Python 3 is needed; schemathesis is installed below build/.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const root = resolve(import.meta.dirname, "../..");
const VERSION = "4.32.5";

/** schemathesis, installed if it is not there. */
function schemathesis(): string {
  const folder = join(root, "build/schemathesis");
  const command = join(folder, "bin/schemathesis");
  if (existsSync(command)) return command;
  execFileSync("python3", ["-m", "venv", folder], { stdio: "inherit" });
  execFileSync(join(folder, "bin/pip"), ["install", "--quiet", `schemathesis==${VERSION}`], {
    stdio: "inherit",
  });
  return command;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((ready) => void server.listen(0, "127.0.0.1", ready));
  const address = server.address();
  await new Promise((closed) => void server.close(closed));
  return typeof address === "object" && address !== null ? address.port : 0;
}

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "120" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
  },
});
const command = schemathesis();
const state = mkdtempSync(join(tmpdir(), "spore-fuzz-api-"));
const env = { ...process.env, XDG_STATE_HOME: state, SPORE_HOME: undefined };
const spore = (...words: string[]): string =>
  execFileSync(join(root, "spore"), words, { encoding: "utf8", env, stdio: ["ignore", "pipe", "inherit"] });
try {
  const port = await freePort();
  spore("up", "--port", "0", "--api", `127.0.0.1:${port}`);
  spore("deploy", "--name", "a", join(root, "examples/hello"));
  const { secret } = JSON.parse(spore("token", "--create", "fuzz", "--role", "operator", "--json")) as {
    readonly secret: string;
  };
  const { status } = spawnSync(
    command,
    [
      "run",
      `http://127.0.0.1:${port}/v1/openapi.json`,
      ...["--header", `Authorization: Bearer ${secret}`],
      // Streams do not end.
      ...["--exclude-path-regex", "stream$"],
      ...["--phases", "examples,coverage,fuzzing", "--continue-on-failure"],
      ...["--max-time", values.seconds, "--seed", values.seed, "--request-timeout", "20"],
    ],
    { stdio: "inherit", cwd: state },
  );
  process.exitCode = status ?? 1;
} finally {
  spore("down");
  rmSync(state, { recursive: true, force: true });
}
