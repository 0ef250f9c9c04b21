import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commands } from "./commands/index.ts";
import { completion, shells } from "./completion.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "spore-completion-"));
  for (const shell of shells) writeFileSync(join(folder, shell), completion(shell, commands));
  writeFileSync(join(folder, "a file.ts"), "");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What bash offers for a line; the last word is the one that is completed. */
function offered(...words: string[]): string[] {
  const script = `source ./bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _spore; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const text = execFileSync("bash", ["-c", script, "bash", "spore", ...words], {
    cwd: folder,
    encoding: "utf8",
  });
  return text.split("\n").filter((line) => line !== "");
}

describe("bash", () => {
  test("completes commands", () => {
    expect(offered("de")).toEqual(["deploy"]);
    expect(offered("")).toEqual(expect.arrayContaining(["run", "up", "--version"]));
    expect(offered("crash-")).toEqual([]);
  });

  test("completes the options of the command, by their long and short names", () => {
    expect(offered("deploy", "--can")).toEqual(["--canary"]);
    expect(offered("logs", "-")).toEqual(["--follow", "-f", "--last", "--after", "--json", "--help", "-h"]);
  });

  test("completes values that it knows, files where files are meant, and nothing else", () => {
    expect(offered("token", "--role", "")).toEqual(["viewer", "deployer", "admin", "operator"]);
    expect(offered("completion", "")).toEqual([...shells]);
    expect(offered("deploy", "a")).toEqual(["a file.ts"]);
    expect(offered("up", "--tls-cert", "a")).toEqual(["a file.ts"]);
    expect(offered("up", "--port", "")).toEqual([]);
    expect(offered("inspect", "")).toEqual([]);
  });
});

test.each(shells)("every command and option is in the script for %s", (shell) => {
  const text = completion(shell, commands);
  for (const { name, options, hidden } of commands) {
    if (hidden) continue;
    expect(text).toContain(name);
    for (const option of Object.keys(options))
      expect(text).toContain(shell === "fish" ? `-l ${option}` : `--${option}`);
  }
  expect(text).not.toContain("crash-report");
});
