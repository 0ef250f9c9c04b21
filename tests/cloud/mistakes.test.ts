import { join } from "node:path";
import { expect, test } from "vitest";
import { cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

const hello = join(root, "examples/hello");

test("what cannot be done is said on one line, with a code and what to do, and the command ends", async () => {
  await using spore = await cloud();
  await spore.json(["deploy", hello]);
  const tried: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["deploy", "--name", "Bad Name", hello], 64, /SPORE_API_INVALID.*lower-case letters, digits and dashes/],
    [["deploy", "--min", "5", "--max", "2", hello], 69, /SPORE_CONFLICT.*scaling\.min is above scaling\.max/],
    [["deploy", "--idle", "5x", hello], 64, /SPORE_USAGE.*expected a time such as 30s/],
    [["up", "--standby", "-1"], 64, /SPORE_USAGE.*expected a number from 0 upwards/],
    [["rollback", "nope"], 66, /SPORE_NOT_FOUND\]: there is no app nope —/],
    [["rollback", "hello"], 66, /SPORE_NOT_FOUND\]: there is no earlier release of hello —/],
    [["rollback", "hello", "7"], 66, /SPORE_NOT_FOUND\]: there is no release 7 of hello that is good —/],
    [["rollback", "hello", "first"], 64, /SPORE_USAGE\]: RELEASE: expected a whole number/],
    [
      ["deploy", "--name", "shy", "--start-timeout", "15s", "--port", "3000", "-e", "PORT=8080", hello],
      69,
      /SPORE_START_FAILED\]: shy did not start: it listens on port 8080, not on 3000/,
    ],
    [["promote", "hello"], 69, /SPORE_CONFLICT.*hello has no canary/],
    [["env", "nope", "--set", "A=1"], 66, /SPORE_NOT_FOUND\]: there is no app nope —/],
    [["secret", "nope", "--set", "A", "--allow-empty"], 66, /SPORE_NOT_FOUND\]: there is no app nope —/],
    [
      ["secret", "hello", "--set", "A"],
      64,
      /SPORE_SECRET_EMPTY\]: standard input has no value for the secret A —/,
    ],
    [["flag", "nope", "x", "--on"], 66, /SPORE_NOT_FOUND\]: there is no app nope —/],
    [["inspect", "nope"], 66, /SPORE_NOT_FOUND/],
    [["stop", "nope"], 66, /SPORE_NOT_FOUND/],
  ];
  for (const [words, status, said] of tried) {
    const ended = await spore.spore(words, { input: "" });
    const what = `spore ${words.join(" ")}: ${ended.stderr}`;
    expect(ended.stderr, what).toMatch(said);
    expect(ended.stderr.trimEnd().split("\n"), what).toHaveLength(1);
    expect(ended.status, what).toBe(status);
  }
  expect(await spore.get("hello")).toMatchObject({ status: 200 });
}, 120_000);
