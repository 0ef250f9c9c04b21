import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { guestPath } from "./guest-paths.ts";
import { openWorkshop, unpack } from "./test-workshop.ts";
import type { BuildOptions, BuildResult, Image } from "./types.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());

/** Changes the root, the folder and then the program: what the guest's start amounts to. */
const START = `#include <stdlib.h>
#include <unistd.h>
int main(int c,char**v){if(chroot(v[1])||chdir(v[2]))return 126;execv(v[3],v+3);return 127;}`;
const start = workshop.compile("start", START, "gcc", "-static");

/** Builds a project without patches and runs it from its own layers on the host's kernel. */
async function run(
  target: string,
  options: Partial<BuildOptions> = {},
): Promise<{ out: string; err: string; status: number | null }> {
  const { image } = await workshop.build(target, { patch: false, ...options });
  return runImage(image);
}

function runImage(image: Image): { out: string; err: string; status: number | null } {
  const root = unpack(image);
  const { argv, args, cwd } = image.defaults;
  const command = [start, root, cwd, ...argv, ...args];
  const rootless = process.getuid?.() === 0 ? [] : ["unshare", "--map-root-user"];
  const [first = "", ...rest] = [...rootless, ...command];
  const result = spawnSync(first, rest, { encoding: "utf8", env: { PATH: "/usr/bin" }, timeout: 30_000 });
  return { out: result.stdout, err: result.stderr, status: result.status };
}

// The first build of a store disassembles Node.
describe("projects run from their layers as they do from their folder", { timeout: 120_000 }, () => {
  test("TypeScript with packages, data files, workers and a package that cannot be bundled", async () => {
    const project = workshop.project("full", {
      "package.json": JSON.stringify({ name: "full", type: "module", main: "src/main.ts" }),
      "src/main.ts": `
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { pathToFileURL } from "node:url";
import { inside } from "./lib/inside.ts";
import { answer } from "plain";
import { text } from "reader";
import common from "common";
interface Line { readonly what: string }
const line: Line = { what: "typed" };
console.log(line.what, answer, common.value);
console.log("main", import.meta.url === pathToFileURL(process.argv[1] ?? "").href);
console.log("url", readFileSync(new URL("./data/a.txt", import.meta.url), "utf8"));
console.log("dirname", readFileSync(join(import.meta.dirname, "data", "a.txt"), "utf8"));
console.log("cwd", readFileSync("settings.json", "utf8"));
console.log("inside", inside());
console.log("reader", text());
const worker = new Worker(new URL("./worker.ts", import.meta.url));
worker.on("message", (message: string) => console.log("worker", message));
`,
      "src/lib/inside.ts":
        'import { readFileSync } from "node:fs";\nexport const inside = (): string => readFileSync(new URL("../data/a.txt", import.meta.url), "utf8");\n',
      "src/worker.ts":
        'import { parentPort } from "node:worker_threads";\nimport { inside } from "./lib/inside.ts";\nconst text: string = inside();\nparentPort?.postMessage(text);\n',
      "src/data/a.txt": "A",
      "settings.json": "{}",
      "node_modules/plain/package.json": '{"name":"plain","type":"module","exports":"./index.js"}',
      "node_modules/plain/index.js": "export const answer = 42;",
      "node_modules/common/package.json": '{"name":"common","main":"main.js"}',
      "node_modules/common/main.js": 'const os = require("os"); module.exports = { value: typeof os.cpus };',
      "node_modules/reader/package.json": '{"name":"reader","type":"module","exports":"./index.js"}',
      "node_modules/reader/index.js":
        'import { readFileSync } from "node:fs"; import { shared } from "shared"; export const text = () => shared + readFileSync(new URL("./words.txt", import.meta.url), "utf8");',
      "node_modules/reader/words.txt": "words",
      "node_modules/reader/unused.txt": "unused",
      "node_modules/shared/package.json": '{"name":"shared","type":"module","exports":"./index.js"}',
      "node_modules/shared/index.js": 'export const shared = "shared ";',
    });
    const { out, err, status } = await run(project);
    expect(err).toBe("");
    expect(status).toBe(0);
    expect(out.split("\n")).toEqual([
      "typed 42 function",
      "main true",
      "url A",
      "dirname A",
      "cwd {}",
      "inside A",
      "reader shared words",
      "worker A",
      "",
    ]);
    const root = unpack((await workshop.build(project, { patch: false })).image);
    expect(existsSync(join(root, "app/node_modules/reader/words.txt"))).toBe(true);
    expect(existsSync(join(root, "app/node_modules/reader/unused.txt"))).toBe(false);
    expect(existsSync(join(root, "app/node_modules/plain"))).toBe(false);
  });

  test("after an edit: the image that is built with nothing remembered, whatever was edited", async () => {
    const project = workshop.project("edited", {
      "package.json": JSON.stringify({ name: "edited", type: "module", main: "src/main.ts" }),
      "src/main.ts":
        'import { text } from "reading"; import { word } from "./word.ts"; console.log(word, text());',
      "src/word.ts": 'export const word: string = "first";',
      "node_modules/reading/package.json": '{"name":"reading","type":"module","exports":"./index.js"}',
      "node_modules/reading/index.js":
        'import { readFileSync } from "node:fs"; export const text = () => readFileSync(new URL("./words.txt", import.meta.url), "utf8");',
      "node_modules/reading/words.txt": "words",
      "node_modules/later/package.json": '{"name":"later","type":"module","exports":"./index.js"}',
      "node_modules/later/index.js": 'export { inner as later } from "./inner.js";',
      "node_modules/later/inner.js": 'export const inner = "later";',
      "node_modules/later/other.js": 'export const inner = new URL("./other.js", import.meta.url).pathname;',
    });
    const at = (path: string): string => join(project, path);
    const printed = async (): Promise<string> => {
      const { image } = await workshop.build(project, { patch: false });
      rmSync(join(workshop.store, "traces"), { recursive: true });
      const { image: anew } = await workshop.build(project, { patch: false, fresh: true });
      expect(image.digest).toBe(anew.digest);
      const { out, err } = runImage(image);
      expect(err).toBe("");
      return out;
    };
    expect(await printed()).toBe("first words\n");
    writeFileSync(at("src/word.ts"), 'export const word: string = "second";');
    expect(await printed()).toBe("second words\n");
    writeFileSync(at("src/word.ts"), 'export { later as word } from "later";');
    expect(await printed()).toBe("later words\n");
    // The package changes: another module of it, which must not be bundled.
    writeFileSync(at("node_modules/later/index.js"), 'export { inner as later } from "./other.js";');
    expect(await printed()).toBe("/app/node_modules/later/other.js words\n");
    writeFileSync(at("node_modules/reading/words.txt"), "other words");
    expect(await printed()).toBe("/app/node_modules/later/other.js other words\n");
  });

  test("CommonJS: __dirname, require.main, a JSON file, sloppy code", async () => {
    const project = workshop.project("commonjs", {
      "package.json": JSON.stringify({
        name: "commonjs",
        scripts: { start: "NODE_ENV=production node --no-warnings server.js --port 1" },
      }),
      "server.js":
        'sloppy = 1; const { where } = require("./lib/where"); console.log(require.main === module, __dirname, where(), require("./data.json").x, process.argv.slice(2).join(" "));',
      "lib/where.js":
        'const fs = require("fs"); exports.where = () => __filename + fs.readFileSync(__dirname + "/w.txt", "utf8");',
      "lib/w.txt": "!",
      "data.json": '{"x":7}',
    });
    const { out, err } = await run(project);
    expect(err).toBe("");
    expect(out).toBe("true /app /app/lib/where.js! 7 --port 1\n");
  });

  /** Who asks for CommonJS packages, in every way there is; each module says when it runs. */
  const asking = {
    "package.json": '{"name":"asking","type":"module","main":"src/main.ts"}',
    "src/main.ts": `
import "./first.ts";
import early from "early";
import { count, default as counter } from "counter";
import { fromModule } from "modern";
import compiled, { named } from "compiled";
import * as space from "counter";
import { log } from "./first.ts";
counter.add();
log("main", typeof early, count, counter.count(), fromModule(), typeof compiled, named, space.default === counter);
const late = await import("late");
log("late", late.default.name, (await import("./folder/other.ts")).same(counter));
`,
    "src/first.ts":
      'export const log = (...words: unknown[]): void => console.log(...words);\nglobalThis.order = ["first"];',
    "src/folder/other.ts":
      'import counter from "counter";\nexport const same = (other: unknown): boolean => counter === other;',
    "node_modules/early/package.json": '{"name":"early","main":"index.js"}',
    "node_modules/early/index.js": 'order.push("early"); module.exports = () => {};',
    "node_modules/counter/package.json": '{"name":"counter","main":"index.js"}',
    "node_modules/counter/index.js":
      'order.push("counter"); let n = 0; exports.count = () => n; exports.add = () => { n += 1; }; exports.os = require("os");',
    "node_modules/modern/package.json": '{"name":"modern","type":"module","exports":"./index.js"}',
    "node_modules/modern/index.js":
      'import { add, count } from "counter"; export const fromModule = () => { add(); return count(); }; export const unused = "nobody asks for this";',
    "node_modules/compiled/package.json": '{"name":"compiled","main":"index.js"}',
    "node_modules/compiled/index.js":
      'Object.defineProperty(exports, "__esModule", { value: true }); exports.default = () => {}; exports.named = order.join();',
    "node_modules/late/package.json": '{"name":"late","main":"index.js"}',
    "node_modules/late/index.js": "module.exports = { name: order.length };",
  };

  test("CommonJS packages run once, in their turn, and mean what they mean to Node", async () => {
    const project = workshop.project("asking", asking);
    const natively = spawnSync(process.execPath, ["src/main.ts"], { cwd: project, encoding: "utf8" });
    expect(natively.stderr).toBe("");
    expect(natively.stdout).toContain("late 3 true");
    expect(await run(project)).toEqual({ out: natively.stdout, err: "", status: 0 });
  });

  test("an edit of the app leaves the layer of what it depends on as it is", async () => {
    const project = workshop.project("edited", asking);
    const build = (): Promise<BuildResult> => workshop.build(project, { patch: false });
    const [runtime, dependencies, app, ...more] = (await build()).image.layers;
    expect([runtime?.name, dependencies?.name, app?.name, more]).toEqual([
      expect.stringContaining("node"),
      "dependencies",
      "app",
      [],
    ]);
    writeFileSync(join(project, "src/folder/other.ts"), "export const same = () => 7;");
    const edited = (await build()).image.layers;
    expect(edited[1]?.sha256).toBe(dependencies?.sha256);
    expect(edited[2]?.sha256).not.toBe(app?.sha256);
    expect(runImage((await build()).image).out).toContain("late 3 7");
    writeFileSync(join(project, "node_modules/late/index.js"), "module.exports = { name: 8 };");
    const changed = await build();
    expect(changed.image.layers[1]?.sha256).not.toBe(dependencies?.sha256);
    expect(runImage(changed.image).out).toContain("late 8 7");
    // A sweep of the store may take it while what is known of it stays.
    rmSync(changed.image.layers[1]?.path ?? "");
    writeFileSync(join(project, "src/folder/other.ts"), "export const same = () => 9;");
    expect(runImage((await build()).image).out).toContain("late 8 9");
  });

  test("a native add-on comes unbundled, with the library it needs", async () => {
    const headers = join(
      execFileSync("node", ["-p", "process.execPath"], { encoding: "utf8" }).trim(),
      "../../include/node",
    );
    const project = workshop.project("native", {
      "package.json": '{"name":"native","main":"index.js"}',
      "index.js": 'console.log(require("addon").value());',
      "node_modules/addon/package.json": '{"name":"addon","main":"index.js"}',
      "node_modules/addon/index.js": 'module.exports = require("./build/addon.node");',
      "addon.c":
        '#include <node_api.h>\nint answer(void);\nstatic napi_value value(napi_env e, napi_callback_info i){napi_value r;napi_create_int32(e,answer(),&r);return r;}\nNAPI_MODULE_INIT(){napi_value f;napi_create_function(env,"value",5,value,0,&f);napi_set_named_property(env,exports,"value",f);return exports;}\n',
      "answer.c": "int answer(void){return 42;}",
    });
    mkdirSync(join(project, "node_modules/addon/build"));
    mkdirSync(join(workshop.folder, "libs"));
    const library = join(workshop.folder, "libs/libanswer.so");
    execFileSync("gcc", ["-shared", "-fPIC", "-o", library, join(project, "answer.c")]);
    const output = join(project, "node_modules/addon/build/addon.node");
    const flags = ["-shared", "-fPIC", `-I${headers}`, "-o", output, join(project, "addon.c"), library];
    execFileSync("gcc", [...flags, `-Wl,-rpath,${join(workshop.folder, "libs")}`]);
    expect(await run(project)).toEqual({ out: "42\n", err: "", status: 0 });
  });

  test("a package from which files were left out that others would look for", async () => {
    const project = workshop.project("pruned", {
      "package.json": '{"name":"pruned","type":"module"}',
      "index.js": 'import { where } from "semver"; console.log(where);',
      "node_modules/semver/package.json": '{"name":"semver","main":"index.js"}',
      // With the real package comes a preload.js.
      "node_modules/semver/index.js": "exports.where = __dirname;",
    });
    const root = unpack((await workshop.build(project)).image);
    expect(existsSync(join(root, "app/node_modules/semver/index.js"))).toBe(true);
  });

  test("packages of a workspace, above the project and linked into it", async () => {
    const root = workshop.project("workspace", {
      "package.json": '{"private":true}',
      "node_modules/hoisted/package.json": '{"name":"hoisted","main":"index.js"}',
      "node_modules/hoisted/index.js":
        'exports.text = require("fs").readFileSync(__dirname + "/t.txt", "utf8");',
      "node_modules/hoisted/t.txt": "hoisted",
      "libs/ours/package.json": '{"name":"@ours/lib","type":"module","exports":"./index.ts"}',
      "libs/ours/index.ts":
        'import { readFileSync } from "node:fs";\nexport const ours: string = readFileSync(new URL("o.txt", import.meta.url), "utf8");',
      "libs/ours/o.txt": "ours",
      "apps/one/package.json": '{"name":"one","type":"module"}',
      "apps/one/index.ts":
        'import { text } from "hoisted";\nimport { ours } from "@ours/lib";\nconsole.log(text, ours);',
    });
    mkdirSync(join(root, "node_modules/@ours"));
    symlinkSync("../../libs/ours", join(root, "node_modules/@ours/lib"));
    expect(await run(join(root, "apps/one"))).toEqual({ out: "hoisted ours\n", err: "", status: 0 });
  });

  test("decorators with the types of what they decorate, by the project's own compiler", async () => {
    const files = {
      "package.json": '{"name":"decorated","main":"src/main.ts"}',
      "tsconfig.base.json":
        '{"compilerOptions":{"experimentalDecorators":true,"emitDecoratorMetadata":true}}',
      "tsconfig.json": '{ "extends": "./tsconfig.base.json" /* with a comment */ }',
      "src/cats.ts": "export class Cats { readonly name = 'cats'; }",
      "src/main.ts": `
import { Cats } from "./cats";
const types = new Map<unknown, unknown[]>();
Object.assign(Reflect, { metadata: (_: string, value: unknown[]) => (target: unknown) => { types.set(target, value); } });
const Injectable = (): ClassDecorator => () => {};
@Injectable()
class House {
  constructor(private readonly cats: Cats, readonly size: number) {}
  fail() { throw new Error("of " + this.cats.name); }
}
const [first, second] = types.get(House) as [typeof Cats, unknown];
console.log(first === Cats, second === Number);
new House(new first(), 1).fail();
`,
    };
    const project = workshop.project("decorated", files);
    mkdirSync(join(project, "node_modules"));
    symlinkSync(
      join(import.meta.dirname, "../../../node_modules/typescript-5"),
      join(project, "node_modules/typescript"),
    );
    const { out, err } = await run(project);
    expect(out).toBe("true true\n");
    expect(err).toContain("/app/src/main.ts:9:");

    const without = workshop.project("undecorated", {
      ...files,
      "tsconfig.json": files["tsconfig.base.json"],
    });
    await expect(workshop.build(without)).rejects.toThrow(/emitDecoratorMetadata.*typescript@5/);
  });

  test("a stack trace shows the lines of the source", async () => {
    const project = workshop.project("trace", {
      "package.json": '{"name":"trace","type":"module"}',
      "src/index.ts": 'import { fail } from "./fail.ts";\n\nfail({ a: "b" });\n',
      "src/fail.ts":
        "interface A { a: string }\n\nexport function fail(a: A): never {\n  throw new Error('no ' + a.a);\n}\n",
    });
    const { err, status } = await run(project);
    expect(status).toBe(1);
    expect(err).toContain("Error: no b");
    expect(err).toContain("/app/src/fail.ts:4:9");
    expect(err).toContain("/app/src/index.ts:3:1");
    expect(err).not.toContain(workshop.folder);
  });

  test("top-level await, a missing optional package and a JSON import", async () => {
    const project = workshop.project("modern", {
      "package.json":
        '{"name":"modern","type":"module","exports":{".":{"types":"./x.d.ts","import":"./app.mjs"}}}',
      "app.mjs":
        'import info from "./info.json" with { type: "json" };\nimport "maybe";\nconst { value } = await import("./late.mjs");\nconsole.log(info.name, value);',
      "late.mjs": "export const value = await Promise.resolve(3);",
      "info.json": '{"name":"info"}',
      "node_modules/maybe/package.json": '{"name":"maybe"}',
      "node_modules/maybe/index.js": 'try { require("not-installed"); } catch { console.log("without"); }',
    });
    expect(await run(project)).toEqual({ out: "without\ninfo 3\n", err: "", status: 0 });
  });
});

describe("entry", () => {
  const manifest = (fields: object): Record<string, string> => ({ "package.json": JSON.stringify(fields) });
  const cases: [
    why: string,
    files: Record<string, string>,
    entry: string,
    options?: Partial<BuildOptions>,
  ][] = [
    [
      "named by the configuration",
      { ...manifest({ main: "a.js" }), "a.js": "", "b.ts": "" },
      "b.ts",
      { entry: "b.ts" },
    ],
    [
      "package.json: spore.entry",
      { ...manifest({ main: "a.js", spore: { entry: "./c.ts" } }), "a.js": "", "c.ts": "" },
      "c.ts",
    ],
    [
      "package.json: main",
      { ...manifest({ main: "./lib" }), "lib/index.js": "", "index.js": "" },
      "lib/index.js",
    ],
    [
      "package.json: exports",
      { ...manifest({ exports: { ".": [{ import: "./e.mjs" }] } }), "e.mjs": "" },
      "e.mjs",
    ],
    ["package.json: module", { ...manifest({ module: "m.js" }), "m.js": "" }, "m.js"],
    [
      "package.json: scripts.start",
      { ...manifest({ scripts: { start: "npx tsx src/x.ts" } }), "src/x.ts": "" },
      "src/x.ts",
    ],
    ["convention: src/index.ts", { ...manifest({}), "src/index.ts": "", "index.js": "" }, "src/index.ts"],
    ["convention: server.mjs", { "server.mjs": "" }, "server.mjs"],
    [
      "convention: app.ts (package.json: main names dist/x.js, which does not exist)",
      { ...manifest({ main: "dist/x.js" }), "app.ts": "" },
      "app.ts",
    ],
  ];
  test.each(cases)("%s", async (why, files, entry, options) => {
    const project = workshop.project(`entry-${cases.findIndex(([each]) => each === why)}`, files);
    const { decisions } = await workshop.build(project, options);
    expect(decisions.find(({ topic }) => topic === "entry")).toEqual({ topic: "entry", what: entry, why });
  });

  const starts: [script: string, entry: string][] = [
    ["tsx watch src/x.ts", "src/x.ts"],
    ["tsc -p . && node --enable-source-maps src/x.js", "src/x.js"],
    ["cross-env NODE_ENV=production node -r dotenv/config src/x.js", "src/x.js"],
    ["nodemon --watch src --exec ts-node src/x.ts", "src/x.ts"],
    ["npm run serve", "src/served.js"],
    ["ts-node -P tsconfig.json src/x", "src/x.ts"],
  ];
  test.each(starts)("package.json: scripts.start %s", async (start, entry) => {
    const serve = "node src/served";
    const project = workshop.project(`start-${starts.findIndex(([each]) => each === start)}`, {
      ...manifest({ scripts: { start, serve, loop: "npm run loop" } }),
      [entry]: "",
    });
    const { decisions } = await workshop.build(project);
    expect(decisions.find(({ topic }) => topic === "entry")).toMatchObject({
      what: entry,
      why: "package.json: scripts.start",
    });
  });

  test("package.json: bin", async () => {
    const project = workshop.project("bin", {
      ...manifest({ bin: { tool: "./cli.js" }, scripts: { start: "npm run start" } }),
      "cli.js": "#!/usr/bin/env node",
    });
    const { decisions } = await workshop.build(project);
    expect(decisions.find(({ topic }) => topic === "entry")?.why).toBe("package.json: bin");
  });

  test("none", async () => {
    const project = workshop.project("none", { ...manifest({ main: "gone.js" }), "readme.md": "" });
    const failure = workshop.build(project);
    await expect(failure).rejects.toMatchObject({ code: "SPORE_NO_ENTRY" });
    await expect(failure).rejects.toThrow(/main names gone.js, which does not exist/);
  });

  test("a package.json that is not JSON", async () => {
    const project = workshop.project("broken", { "package.json": "{", "index.js": "" });
    await expect(workshop.build(project)).rejects.toMatchObject({ code: "SPORE_CONFIG_INVALID" });
  });
});

describe("building", () => {
  test("a source that cannot be read names its line", async () => {
    const project = workshop.project("syntax", { "index.ts": "const a = 1;\nconst b = ;\n" });
    const failure = workshop.build(project);
    await expect(failure).rejects.toMatchObject({ code: "SPORE_BUNDLE_FAILED" });
    await expect(failure).rejects.toThrow("index.ts:2:11: ");
  });

  test("an import that is not installed names itself", async () => {
    const project = workshop.project("missing", { "index.ts": 'import "nowhere";\n' });
    await expect(workshop.build(project)).rejects.toThrow(/index.ts:1:8: Could not resolve "nowhere"/);
  });

  test("a release of Node that is not known", async () => {
    const project = workshop.project("old", { "index.ts": "" });
    const failure = workshop.build(project, { node: 18 as never });
    await expect(failure).rejects.toMatchObject({ code: "SPORE_NODE_VERSION" });
  });

  test("secrets stay at home", async () => {
    const project = workshop.project("secret", {
      "index.js":
        'const fs = require("fs"); fs.readFileSync(__dirname + "/server.key"); fs.readFileSync(".env"); fs.readFileSync(__dirname + "/open.txt");',
      ".env": "KEY=1",
      "server.key": "key",
      "open.txt": "open",
    });
    const { image, decisions } = await workshop.build(project);
    const root = unpack(image);
    expect(existsSync(join(root, "app/open.txt"))).toBe(true);
    for (const name of [".env", "server.key"]) {
      expect(existsSync(join(root, "app", name))).toBe(false);
      expect(decisions.some(({ what }) => what === `${name}: left out`)).toBe(true);
    }
  });

  test("a changed module is built again over the same Node layer, an unchanged project is not", async () => {
    const files = {
      "package.json": '{"type":"module"}',
      "index.ts": 'import "./x.ts";',
      "x.ts": "console.log(1);",
    };
    const project = workshop.project("again", files);
    const past = new Date(Date.now() - 60_000);
    for (const name of ["", ...Object.keys(files)]) utimesSync(join(project, name), past, past);
    const first = await workshop.build(project);
    expect((await workshop.build(project)).reused).toBe(true);
    writeFileSync(join(project, "x.ts"), "console.log(2);");
    const third = await workshop.build(project);
    expect(third.reused).toBe(false);
    expect(third.image.layers[0]).toEqual(first.image.layers[0]);
    expect(third.image.layers[1]?.sha256).not.toBe(first.image.layers[1]?.sha256);
  });

  test("the same project gives the same bytes wherever it lies", async () => {
    const files = {
      "package.json": '{"name":"same","type":"module"}',
      "index.ts": 'import { where } from "reader";\nconsole.log(where, import.meta.url);',
      "node_modules/reader/package.json": '{"name":"reader","main":"index.js"}',
      "node_modules/reader/index.js": "exports.where = __dirname;",
    };
    const one = await workshop.build(workshop.project("here", files));
    const other = await workshop.build(workshop.project("there/deeper", files));
    expect(other.image.digest).toBe(one.image.digest);
    expect(readFileSync(one.image.path).includes(workshop.folder)).toBe(false);
  });
});

test.each([
  ["/p/src/a.ts", "/app/src/a.ts"],
  ["/p/node_modules/x/y.js", "/app/node_modules/x/y.js"],
  ["/p", "/app"],
])("guest path of %s", (host, guest) => expect(guestPath("/p", host)).toBe(guest));

test.each([
  ["/w/node_modules/x/y.js", "/node_modules/x/y.js"],
  ["/w/lib/z.ts", "/app/.up2/lib/z.ts"],
  ["/other/node_modules/x/y.js", "/app/.up3/other/node_modules/x/y.js"],
])("guest path of %s, outside", (host, guest) => expect(guestPath("/w/apps/p", host)).toBe(guest));
