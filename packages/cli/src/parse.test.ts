import { expect, test } from "vitest";
import { command, flag, list, type Options, value } from "./command.ts";
import { parse } from "./parse.ts";

const example = command({
  name: "example",
  summary: "",
  arguments: [{ name: "TARGET", doc: "" }],
  rest: { name: "ARG", doc: "" },
  options: {
    memory: value({ short: "m", value: "N", doc: "", read: Number }),
    env: list({ short: "e", value: "K=V", doc: "", read: (text) => text }),
    json: flag({ doc: "" }),
  },
  examples: [],
  handle: () => 0,
});

function invocation(...words: string[]) {
  const parsed = parse(example, words);
  return parsed.help ? undefined : parsed.invocation;
}

test("options may stand before and after the target, joined or apart", () => {
  const expected = {
    options: { memory: 5, env: ["A=1", "B=2"], json: true },
    words: ["app"],
    rest: undefined,
  };
  expect(invocation("-m", "5", "--env", "A=1", "app", "-e", "B=2", "--json")).toEqual(expected);
  expect(invocation("--memory=5", "-eA=1", "--env=B=2", "--json", "app")).toEqual(expected);
});

test("the last of two single options counts", () => {
  expect(invocation("-m1", "-m2", "app")?.options["memory"]).toBe(2);
});

test("everything after -- belongs to the program, untouched", () => {
  const args = ["--json", "-m", "--", "x", ""];
  expect(invocation("app", "--", ...args)).toEqual({
    options: { memory: undefined, env: [], json: false } satisfies Record<keyof Options, unknown>,
    words: ["app"],
    rest: args,
  });
  expect(invocation("app", "--")?.rest).toEqual([]);
  expect(parse(example, ["app", "--", "--help"]).help).toBe(false);
});

test("--help wins over what is missing", () => {
  expect(parse(example, ["--help"]).help).toBe(true);
  expect(parse(example, ["-h"]).help).toBe(true);
});
