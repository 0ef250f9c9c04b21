// `spore build`: one file, the same bytes from the same inputs, that runs as its target would.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, folder } from "../support/programs.ts";
import { eventsOf, root, runTarget, serve, spore } from "../support/spore.ts";

const place = folder();
const hello = compile(place, "hello.c", "gcc");
const digest = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

test("an image of a program runs without the program, with what was said at build time", async () => {
  const image = join(place, "hello.spore");
  const words = ["-e", "BUILT=yes", "--cwd", "/tmp", "-o", image, hello, "--", "@", "4"];
  expect(await spore(["build", ...words])).toMatchObject({ status: 0 });
  renameSync(hello, `${hello}.away`);
  const kept = await runTarget([image]);
  expect(kept).toMatchObject({ stderr: "", status: 4 });
  for (const line of ["hello [@] [4]", "BUILT=yes", "in /tmp"])
    expect(kept.stdout.split("\n")).toContain(line);
  const other = await runTarget(["-e", "BUILT=no", image, "--", "@", "5"]);
  expect(other.stdout).toContain("BUILT=no\n");
  expect(other.status).toBe(5);
  renameSync(`${hello}.away`, hello);
});

test("an image of a project serves, without the project or the store it was built with", async () => {
  const project = join(place, "project");
  cpSync(join(root, "examples/hello"), project, { recursive: true });
  const image = join(place, "project.spore");
  const env = { SPORE_HOME: join(place, "first") };
  expect(await spore(["build", "-o", image, project], { env })).toMatchObject({ status: 0 });
  rmSync(project, { recursive: true });
  rmSync(env.SPORE_HOME, { recursive: true });
  await using server = await serve(8080, [image], { env: { SPORE_HOME: join(place, "second") } });
  expect(await (await fetch(server.url)).text()).toBe("Hello from Spore\n");
});

/** Writes a project with data files, a package and a choice that is made at run time; `names` says in which order. */
function writeProject(path: string, order: (names: string[]) => string[], when: number): void {
  const files: Readonly<Record<string, string>> = {
    "package.json": '{"name":"same","type":"module"}',
    "src/index.ts":
      'import { readdirSync } from "node:fs";\nimport dep from "dep";\n' +
      'const which = process.argv[2] ?? "one";\nconst { default: text } = await import("./lazy/" + which + ".ts");\n' +
      'console.log(readdirSync(new URL("../data/", import.meta.url)), dep.load("2.js"), text);\n',
    "src/lazy/one.ts": 'export default "one";',
    "src/lazy/two.ts": 'export default "two";',
    "node_modules/dep/package.json": '{"name":"dep","main":"index.js"}',
    "node_modules/dep/index.js":
      'exports.load = (name) => require(require("path").join(__dirname, "lib", name));',
    ...Object.fromEntries([1, 2, 3].map((n) => [`node_modules/dep/lib/${n}.js`, `module.exports = ${n};`])),
    ...Object.fromEntries(["z", "a", "m", "k"].map((name) => [`data/${name}.txt`, name])),
  };
  for (const name of order(Object.keys(files))) {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), files[name] ?? "");
    utimesSync(join(path, name), when, when);
  }
}

/** Digests of the archives of all targets, and of what is in the directory of each. */
async function builtIn(
  where: string,
  targets: readonly (readonly string[])[],
  env: Readonly<Record<string, string>>,
): Promise<string[]> {
  const digests: string[] = [];
  for (const [index, target] of targets.entries()) {
    const output = join(where, `${index}.spore`);
    for (const to of [output, join(where, `${index}`, "/")])
      expect(await spore(["build", "-o", to, ...target], { cwd: where, env })).toMatchObject({ status: 0 });
    const unpacked = join(where, `${index}.unpacked`);
    mkdirSync(unpacked);
    execFileSync("tar", ["-C", unpacked, "-xf", output]);
    rmSync(join(unpacked, "padding"), { recursive: true, force: true });
    const files = readdirSync(unpacked, { recursive: true, encoding: "utf8" }).sort();
    expect(readdirSync(join(where, `${index}`), { recursive: true, encoding: "utf8" }).sort()).toEqual(files);
    for (const name of files.filter((each) => statSync(join(unpacked, each)).isFile()))
      expect(digest(join(where, `${index}`, name))).toBe(digest(join(unpacked, name)));
    digests.push(digest(output));
  }
  return digests;
}

test("the same inputs give the same bytes: another store, place, time zone, language, umask, order and age of files", {
  timeout: 180_000,
}, async () => {
  const fixed = compile(place, "puts.c", "gcc", "-static");
  const libraries = ["/usr/lib/x86_64-linux-gnu/libz.so.1", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"];
  const sides = [
    { name: "first", env: { TZ: "UTC", LC_ALL: "C" }, umask: 0o022, when: 1e9 },
    {
      name: "a/second",
      env: { TZ: "Asia/Tokyo", LC_ALL: "tr_TR.UTF-8", NODE_ENV: "test" },
      umask: 0o077,
      when: 1.5e9,
    },
  ];
  const found: string[][] = [];
  for (const [side, { name, env, umask, when }] of sides.entries()) {
    const where = join(place, "same", name);
    const before = process.umask(umask);
    try {
      for (const folder of ["home", "tmp", "include"]) mkdirSync(join(where, folder), { recursive: true });
      writeProject(join(where, "project"), (names) => (side === 0 ? names : names.reverse()), when);
      // Two of one name: which of them a library's name leads to must not depend on the order of a directory.
      const copies = libraries.map((file, index) => [file, join(where, "include", `${index}`)] as const);
      for (const [file, folder] of side === 0 ? copies : copies.reverse()) {
        mkdirSync(folder);
        copyFileSync(file, join(folder, "libsame.so"));
      }
      const include = ["--include", `${join(where, "include")}:/more`];
      const own = {
        ...env,
        SPORE_HOME: join(where, "home"),
        HOME: join(where, "home"),
        TMPDIR: join(where, "tmp"),
      };
      const targets = [["project"], [fixed], [hello], [...include, hello]];
      found.push(await builtIn(where, targets, own));
      expect(readdirSync(join(where, "tmp"))).toEqual([]);
      const again = await spore(["build", "-o", join(where, "again.spore"), "project"], {
        cwd: where,
        env: own,
      });
      expect(again).toMatchObject({ status: 0 });
      expect(digest(join(where, "again.spore"))).toBe(found[side]?.[0]);
    } finally {
      process.umask(before);
    }
  }
  expect(found[1]).toEqual(found[0]);
  const { stdout } = await spore(["run", "--json", join(place, "same/first/1.spore")]);
  expect(eventsOf(stdout)[0]).toMatchObject({ event: "built", reused: true });
});

test("an image that exists is replaced as a whole", async () => {
  const output = join(place, "replaced.spore");
  writeFileSync(output, "something else");
  expect(await spore(["build", "-o", output, hello])).toMatchObject({ status: 0 });
  expect(statSync(output).mode & 0o777).toBe(0o644);
  expect((await runTarget([output])).stdout).toBe("hello\n");
  expect(existsSync(`${output}.tmp`)).toBe(false);
});
