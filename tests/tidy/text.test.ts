// Rules for every file. Names, gists and reasons stand in CONTRIBUTING.md.

import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { offences, root, text, tracked, written } from "./files.ts";

const sources = written(".rs", ".ts", ".mjs", ".s", ".S", ".ld");

test("short-files: no file has more than 700 lines", () => {
  const long = sources
    .map((path) => ({ path, lines: text(path).split("\n").length - 1 }))
    .filter(({ lines }) => lines > 700);
  expect(long).toEqual([]);
});

test("told-headers: every source file starts by saying what it is for", () => {
  const silent = sources.filter((path) => {
    // A test file says it with the names of its tests.
    if (path.endsWith(".test.ts")) return false;
    const start = text(path).replace(/^#!.*\n/, "");
    return path.endsWith(".rs") ? !start.startsWith("//!") : !/^(\/\*|\/\/|#)/.test(start);
  });
  expect(silent).toEqual([]);
});

test("speaking-names: no file or folder is called utils, common, misc or helpers", () => {
  const vague = /^(utils?|common|misc|helpers?|stuff|lib)$/;
  const found = tracked.filter((path) =>
    path.split("/").some((part, index, parts) => {
      const name = part.replace(/\..*$/, "");
      // lib.rs is the name that Cargo gives a crate's root.
      return vague.test(name) && !(part === "lib.rs" && index === parts.length - 1);
    }),
  );
  expect(found).toEqual([]);
});

test("portable: no path of one machine and no package registry is written down", () => {
  // Put together here, so that this file does not break the rule.
  const places = [
    "/wo" + "rk/",
    "/tmp" + "/w/",
    "/ro" + "ot/",
    "/ho" + "me/[a-z]",
    "registry\\.np" + "mjs",
    "veld" + "accio",
  ];
  const machine = new RegExp(`(^|[^A-Za-z0-9_.~-])(${places.join("|")})`);
  const paths = tracked.filter((path) => !/\.(png|ico|bin|elf|erofs|csv)$/.test(path));
  expect(offences(paths, (line) => machine.exec(line)?.[0])).toEqual([]);
});

test("locked: the lock file names no registry", () => {
  expect(offences(["package-lock.json"], (line) => /"resolved": "https?:.*/.exec(line)?.[0])).toEqual([]);
});

test("live-links: what a document links to is there", () => {
  const dead = written(".md").flatMap((path) =>
    [...text(path).matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)]
      .map((match) => match[1] ?? "")
      .filter((link) => !existsSync(join(root, dirname(path), link)))
      .map((link) => `${path}: ${link}`),
  );
  expect(dead).toEqual([]);
});

test("one-number: every promise has a number of its own, and the tests behind it are there", () => {
  const promises = text("SPECIFICATION.md")
    .split("\n")
    .filter((line) => /^\| [A-Z]\d+ \|/.test(line));
  const numbers = promises.map((line) => line.split(" ")[1]);
  expect(numbers.filter((number, at) => numbers.indexOf(number) !== at)).toEqual([]);
  const missing = promises
    .flatMap((line) => line.match(/[\w./-]+\/[\w./-]+\.(ts|rs)\b/g) ?? [])
    .filter((path) => !existsSync(join(root, path)));
  expect(missing).toEqual([]);
});

test("runnable: the scripts of the root can be run and are for any POSIX shell", () => {
  for (const path of ["spore", "check", ".ci/run"]) {
    expect(statSync(join(root, path)).mode & 0o111, path).toBe(0o111);
    expect(text(path), path).toMatch(/^#!\/bin\/sh\n/);
  }
});
