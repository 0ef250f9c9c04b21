import { describe, expect, test } from "vitest";
import { asSporeError, SporeError, sporeError } from "./error.ts";

describe("sporeError", () => {
  test("names the thing and the next step on one line", () => {
    const error = sporeError("SPORE_TARGET_NOT_FOUND", { target: "./nowhere" });
    expect(error.line).toBe(
      "error[SPORE_TARGET_NOT_FOUND]: ./nowhere does not exist — give a project directory, a Linux x86-64 program, or an image that `spore build` wrote",
    );
    expect(error.exitStatus).toBe(66);
  });

  test("a better next step replaces the registry's", () => {
    const error = sporeError(
      "SPORE_USAGE",
      { problem: "unknown option --prot", command: "run" },
      { next: "did you mean --publish?" },
    );
    expect(error.line).toBe("error[SPORE_USAGE]: unknown option --prot — did you mean --publish?");
  });

  test("stays one printable line whatever the values hold", () => {
    const error = sporeError("SPORE_TARGET_NOT_FOUND", { target: "a\n  b\u001b[31m" });
    expect(error.line).toContain("a; b\\x1b[31m does not exist");
    expect(error.line.split("\n")).toHaveLength(1);
  });
});

describe("asSporeError", () => {
  test("passes a SporeError through", () => {
    const error = sporeError("SPORE_KVM_MISSING", {});
    expect(asSporeError(error)).toBe(error);
  });

  test("turns anything else into a bug report without a stack trace", () => {
    const error = asSporeError(new TypeError("x is undefined"));
    expect(error).toBeInstanceOf(SporeError);
    expect(error.exitStatus).toBe(70);
    expect(error.line).toMatch(/^error\[SPORE_INTERNAL\]: unexpected: x is undefined — .*report/);
  });
});
