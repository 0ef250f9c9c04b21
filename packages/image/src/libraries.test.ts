import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compareLibraryNames, readLibraryCache, writeLibraryCache } from "./library-cache.ts";
import { openWorkshop, unpack } from "./test-workshop.ts";
import type { BuildResult } from "./types.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());

const MAIN = "int answer(void);int main(void){return answer();}";

function library(folder: string, name: string, ...flags: string[]): string {
  workshop.project(folder, { "answer.c": "int answer(void){return 42;}" });
  const output = join(workshop.folder, folder, name);
  execFileSync("gcc", [
    "-shared",
    "-fPIC",
    "-o",
    output,
    join(workshop.folder, folder, "answer.c"),
    ...flags,
  ]);
  return output;
}

function libraries(built: BuildResult): string[] {
  return built.decisions.filter(({ topic }) => topic === "library").map(({ what }) => what);
}

describe("shared libraries", () => {
  test.each([
    ["RUNPATH", "--enable-new-dtags"],
    ["RPATH", "--disable-new-dtags"],
  ])("%s with $ORIGIN", async (name, flag) => {
    const path = library(`by-${name}`, "libanswer.so", "-Wl,-soname,libanswer.so");
    const place = `-Wl,${flag},-rpath,$ORIGIN/by-${name}`;
    const program = workshop.compile(`main-${name}`, MAIN, "gcc", path, place);
    const built = await workshop.build(program);
    expect(libraries(built)).toContain(path);
    const unpacked = unpack(built.image);
    expect(readFileSync(join(unpacked, path)).equals(readFileSync(path))).toBe(true);
  });

  test("DT_RPATH counts for the libraries of libraries, DT_RUNPATH does not", async () => {
    const inner = library("chain", "libanswer.so", "-Wl,-soname,libanswer.so");
    const outer = join(workshop.folder, "chain", "libouter.so");
    writeFileSync(
      join(workshop.folder, "chain", "outer.c"),
      "int answer(void);int outer(void){return answer();}",
    );
    execFileSync("gcc", ["-shared", "-fPIC", "-o", outer, join(workshop.folder, "chain", "outer.c"), inner]);
    const main = "int outer(void);int main(void){return outer();}";
    const flags = (tags: string): string[] => [
      outer,
      `-Wl,${tags},-rpath,$ORIGIN/chain`,
      `-Wl,-rpath-link,${join(workshop.folder, "chain")}`,
    ];
    const old = workshop.compile("old", main, "gcc", ...flags("--disable-new-dtags"));
    expect(libraries(await workshop.build(old))).toEqual(expect.arrayContaining([outer, inner]));
    const young = workshop.compile("young", main, "gcc", ...flags("--enable-new-dtags"));
    const failure = workshop.build(young);
    await expect(failure).rejects.toMatchObject({ code: "SPORE_LIBRARY_MISSING" });
    await expect(failure).rejects.toThrow(/libouter.so needs the shared library .*libanswer.so/);
  });

  test("one that is missing can be included, at any place", async () => {
    const path = library("elsewhere", "libanswer.so", "-Wl,-soname,libanswer.so");
    const program = workshop.compile("needy", MAIN, "gcc", path);
    execFileSync("mv", [path, join(workshop.folder, "libmoved.so")]);
    await expect(workshop.build(program)).rejects.toMatchObject({ code: "SPORE_LIBRARY_MISSING" });
    const include = [{ host: join(workshop.folder, "libmoved.so"), guest: "/opt/odd/libanswer.so" }];
    const unpacked = unpack((await workshop.build(program, { include })).image);
    const cache = readLibraryCache(readFileSync(join(unpacked, "etc/ld.so.cache")));
    expect(cache.get("libanswer.so")).toBe("/opt/odd/libanswer.so");
  });

  test("what included libraries need comes along; what cannot be found does not matter", async () => {
    const needed = library("needed", "libanswer.so", "-Wl,-soname,libanswer.so");
    const folder = join(workshop.folder, "plugins");
    const source = join(workshop.folder, "plugin.c");
    mkdirSync(join(folder, "deep"), { recursive: true });
    writeFileSync(source, "int answer(void);int plugin(void){return answer();}");
    const link = (name: string, ...flags: string[]): void => {
      execFileSync("gcc", ["-shared", "-fPIC", "-o", join(folder, name), source, needed, ...flags]);
    };
    link("deep/plugin.so", "-Wl,-rpath,$ORIGIN/../../needed");
    link("lost.so");
    writeFileSync(join(folder, "broken.so"), readFileSync(needed).subarray(0, 200));
    writeFileSync(join(folder, "foreign.so"), readFileSync(needed).fill(183, 18, 19));
    writeFileSync(join(folder, "text.so"), "not a library");
    const include = [{ host: folder, guest: "/plugins" }];
    const built = await workshop.build("/bin/true", { include });
    expect(libraries(built)).toContain(needed);
    const cache = readLibraryCache(readFileSync(join(unpack(built.image), "etc/ld.so.cache")));
    expect(cache.get("libanswer.so")).toBe(needed);
  });

  test("what ldd names is what the image holds", async () => {
    const built = await workshop.build("/bin/ls");
    const unpacked = unpack(built.image);
    const text = execFileSync("ldd", ["/bin/ls"], { encoding: "utf8" });
    const named = [...text.matchAll(/=> (\/\S+)/g)].map(([, path]) => path);
    expect(named.length).toBeGreaterThan(1);
    expect(libraries(built)).toEqual(expect.arrayContaining(named));
    const cache = readLibraryCache(readFileSync(join(unpacked, "etc/ld.so.cache")));
    for (const path of named) expect([...cache.values()]).toContain(path);
  });

  test("the C library and its linker are patched unless told not to", async () => {
    const patched = unpack((await workshop.build("/bin/ls")).image);
    const plain = unpack((await workshop.build("/bin/ls", { patch: false })).image);
    for (const path of ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]) {
      const host = readFileSync(path);
      const inside = (root: string): Buffer => {
        const real = execFileSync("realpath", [path], { encoding: "utf8" }).trim();
        return readFileSync(join(root, real));
      };
      expect(inside(plain).equals(host)).toBe(true);
      expect(inside(patched).equals(host)).toBe(false);
    }
  });
});

describe("library cache", () => {
  const libraries = new Map([
    ["libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"],
    ["libfoo.so.10", "/opt/libfoo.so.10"],
    ["libfoo.so.9", "/opt/libfoo.so.9"],
    ["libz.so.1", "/usr/lib/libz.so.1"],
  ]);

  test("what is written is read back", () => {
    expect(readLibraryCache(writeLibraryCache(libraries))).toEqual(libraries);
  });

  test("ldconfig reads it", () => {
    const path = join(workshop.folder, "cache");
    writeFileSync(path, writeLibraryCache(libraries));
    const text = execFileSync("/sbin/ldconfig", ["-p", "-C", path], { encoding: "utf8" });
    for (const [name, target] of libraries) expect(text).toContain(`${name} (libc6,x86-64) => ${target}`);
  });

  test("the host's own order is ours", () => {
    const names = execFileSync("/sbin/ldconfig", ["-p"], { encoding: "utf8" })
      .split("\n")
      .flatMap((line) => /^\t(\S+) \(libc6,x86-64\)/.exec(line)?.[1] ?? []);
    expect(names.length).toBeGreaterThan(10);
    expect(names.toSorted((a, b) => compareLibraryNames(b, a))).toEqual(names);
  });

  test("bytes that are no cache give nothing", () => {
    expect(readLibraryCache(new Uint8Array(10)).size).toBe(0);
    expect(readLibraryCache(writeLibraryCache(libraries).subarray(0, 60)).size).toBe(0);
  });
});
