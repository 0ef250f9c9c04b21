import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { folder } from "../support/programs.ts";
import { spore } from "../support/spore.ts";

const scratch = folder();

/** Words as systemd.syntax(7) reads them: quotes, backslashes, `%%` and `$$`. */
function words(line: string): string[] {
  const found = line.match(/"(?:[^"\\]|\\.)*"|[^\s"]+/g) ?? [];
  return found.map((word) => {
    const bare = word.startsWith('"') ? word.slice(1, -1).replace(/\\(.)/g, "$1") : word;
    expect(bare.replaceAll("%%", "").replaceAll("$$", "")).not.toMatch(/[%$]/);
    return bare.replaceAll("%%", "%").replaceAll("$$", "$");
  });
}

function statusOf(socketPath: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: "/v1/status" }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    asked.on("error", reject).end();
  });
}

test("the printed systemd unit starts the daemon, whatever its folder is called, and stops it", async () => {
  // Everything that a unit could misread.
  const state = join(scratch, 'a "b" 100% $HOME c\\d');
  mkdirSync(state);
  const env = { XDG_STATE_HOME: state, SPORE_HOME: undefined, SPORE_URL: undefined };
  const { status, stdout } = await spore(["up", "--print-unit", "--port", "0"], { env });
  expect(status).toBe(0);
  const values = (key: string): string[] =>
    [...stdout.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(([, value]) => value ?? "");
  const [command = "", ...args] = words(values("ExecStart")[0] ?? "");
  const variables = values("Environment").map((value) => words(value)[0] ?? "");
  const given = variables.map((variable) => {
    const equals = variable.indexOf("=");
    return [variable.slice(0, equals), variable.slice(equals + 1)];
  });
  expect(Object.fromEntries(given)).toMatchObject({ XDG_STATE_HOME: state });
  const stdio = ["ignore", "pipe", "inherit"] as const;
  const child = spawn(command, args, { env: Object.fromEntries(given), cwd: "/", stdio: [...stdio] });
  const ended = once(child, "exit");
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      expect(JSON.parse(line)).toMatchObject({ event: "ready" });
      break;
    }
    expect(await statusOf(join(state, "spore/api.sock"))).toBe(200);
  } finally {
    child.kill(values("KillSignal")[0] as NodeJS.Signals);
  }
  expect(await ended).toEqual([0, null]);
});
