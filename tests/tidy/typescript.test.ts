// Rules for TypeScript that tsc and biome do not check by themselves.

import { describe, expect, test } from "vitest";
import { offences, text, tracked, written } from "./files.ts";

const sources = written(".ts").filter((path) => path.startsWith("packages/"));
const shipped = sources.filter((path) => !/\.test(-d)?\.ts$|\/test\/|\/test-[\w-]+\.ts$/.test(path));

test("no-any: no value without a type, and no error switched off without a reason", () => {
  const found = offences(written(".ts"), (line) => {
    if (/(:|\bas|<|\|)\s*any\b(?!\s*[a-z])/.test(line.replace(/\/\/.*|\*.*|"[^"]*"|`[^`]*`|\/.*\//g, "")))
      return "any";
    if (/@ts-(ignore|nocheck)/.test(line) && !line.includes("test(")) return "@ts-ignore";
    if (/biome-ignore [\w/]+(?!.*: \S)/.test(line)) return "biome-ignore without a reason";
    return undefined;
  });
  expect(found.filter((line) => !line.startsWith("tests/tidy/"))).toEqual([]);
});

test("no-hidden-tests: nothing is skipped or alone without a reason beside it", () => {
  const found = offences(written(".test.ts"), (line) =>
    /\b(test|it|describe)\.(only|skip|todo)\b/.test(line) && !line.includes("//") ? line.trim() : undefined,
  );
  expect(found.filter((line) => !line.startsWith("tests/tidy/"))).toEqual([]);
});

/** What each package may import of the others. An arrow that is not here is a decision to take. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  sdk: [],
  elf: [],
  erofs: [],
  linker: ["elf"],
  patch: ["elf"],
  needs: ["elf", "patch"],
  image: ["elf", "erofs", "errors", "linker", "monitor-client", "needs", "patch"],
  "monitor-client": ["errors"],
  api: ["errors"],
  gateway: ["errors"],
  daemon: ["api", "errors", "gateway", "image", "monitor-client"],
  // To the daemon through its API alone.
  cli: ["api", "elf", "erofs", "errors", "image", "monitor-client", "needs", "sdk"],
};

/** Packages that run anywhere: in a browser, in a worker, in another runtime. */
const withoutNode = ["api", "elf", "erofs", "linker", "sdk"];
/** Runs before an app in its machine, so that what the app imports can do without Node.js. */
const preload = "packages/sdk/src/preload/";

function importsOf(path: string): readonly string[] {
  const statement =
    /^(?:import|export)\b[^;"'`]*?\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm;
  return [...text(path).matchAll(statement)].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

describe("package-arrows", () => {
  test("every package has its row", () => {
    const packages = new Set(tracked.flatMap((path) => /^packages\/([^/]+)\//.exec(path)?.[1] ?? []));
    expect([...packages].sort()).toEqual(Object.keys(arrows).sort());
  });

  test("packages import one another only along the arrows, and declare what they import", () => {
    const wrong = shipped.flatMap((path) => {
      const own = path.split("/")[1] ?? "";
      const manifest = JSON.parse(text(`packages/${own}/package.json`)) as {
        dependencies?: Record<string, string>;
      };
      return importsOf(path).flatMap((name) => {
        if (name.startsWith(".") || name.startsWith("node:")) return [];
        const dependency = name
          .split("/")
          .slice(0, name.startsWith("@") ? 2 : 1)
          .join("/");
        const ours = /^@spore\/(.*)$/.exec(dependency)?.[1];
        const allowed = ours === undefined || (arrows[own] ?? []).includes(ours);
        const declared = manifest.dependencies?.[dependency] !== undefined;
        return allowed && declared ? [] : [`${path}: ${name}${allowed ? " (not in package.json)" : ""}`];
      });
    });
    expect(wrong).toEqual([]);
  });

  test("a package's inside is closed: nothing reaches into another by path", () => {
    const wrong = sources.flatMap((path) =>
      importsOf(path)
        .filter((name) => /^(\.\.\/)+packages\//.test(name) || /^@spore\/[^/]+\/src/.test(name))
        .map((name) => `${path}: ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test("what runs anywhere uses nothing of Node.js", () => {
    const wrong = shipped
      .filter((path) => withoutNode.includes(path.split("/")[1] ?? "") && !path.startsWith(preload))
      .filter(
        (path) =>
          importsOf(path).some((name) => name.startsWith("node:")) ||
          /\bprocess\.|\bBuffer\b/.test(text(path)),
      );
    expect(wrong).toEqual([]);
  });
});
