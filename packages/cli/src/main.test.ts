import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const main = join(import.meta.dirname, "main.ts");

function spore(...words: string[]) {
  return spawnSync(process.execPath, [main, ...words], { encoding: "utf8" });
}

describe("the process", () => {
  test("prints the help and nothing else", () => {
    const { status, stdout, stderr } = spore("--help");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain("Usage: spore COMMAND");
  });

  test("an error is one line on standard error and the exit status", () => {
    const { status, stdout, stderr } = spore("run", "/nowhere/app");
    expect({ status, stdout }).toEqual({ status: 66, stdout: "" });
    expect(stderr).toMatch(/^error\[SPORE_TARGET_NOT_FOUND\]: \/nowhere\/app does not exist — [^\n]*\n$/);
  });

  test("the doctor speaks JSON", () => {
    const { status, stdout } = spore("doctor", "--json");
    const { ok } = JSON.parse(stdout) as { ok: boolean };
    expect(status).toBe(ok ? 0 : 69);
  });
});
