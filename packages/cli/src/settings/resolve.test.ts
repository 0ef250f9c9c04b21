import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ImageFlags, noFlags, resolveSettings, type Settings } from "./resolve.ts";

let cwd: string;
let project: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), "settings-"));
  project = join(cwd, "app");
  mkdirSync(project);
});
afterEach(() => rmSync(cwd, { recursive: true, force: true }));

function config(text: string, name = "spore.config.ts"): void {
  writeFileSync(join(project, name), text);
}

/** In a process of its own: spore.config.ts is loaded by Node, not by the test runner. */
function resolved(flags: Partial<ImageFlags> = {}, args?: readonly string[], target = "app"): Settings {
  const given = JSON.stringify([target, { ...noFlags, ...flags }, args ?? null, cwd]);
  const script = `
    import { asSporeError } from ${JSON.stringify(import.meta.resolve("@spore/errors"))};
    import { resolveSettings } from ${JSON.stringify(new URL("./resolve.ts", import.meta.url).href)};
    const [target, flags, args, cwd] = ${given};
    try {
      console.log(JSON.stringify(await resolveSettings(target, flags, args ?? undefined, cwd)));
    } catch (thrown) {
      const { line, exitStatus } = asSporeError(thrown);
      console.log(line);
      process.exitCode = exitStatus;
    }`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
  });
  if (stderr !== "") throw new Error(stderr);
  if (status !== 0) throw new Failure(stdout.trimEnd(), status);
  return JSON.parse(stdout) as Settings;
}

/** What the user would see. */
class Failure extends Error {
  readonly status: number | null;

  constructor(line: string, status: number | null) {
    super(line);
    this.status = status;
  }
}

function failure(work: () => unknown): Failure {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof Failure) return thrown;
    throw thrown;
  }
  throw new Error("expected a failure");
}

const full = `
import { defineConfig } from "@spore/sdk";
const memory: string = "256M";
export default defineConfig({
  entry: "src/main.ts", memory, node: 22, cwd: "/data", args: ["--fast"], patch: false,
  publish: ["8080:80", { host: 0, guest: 81 }],
  env: { A: "config", B: "config" }, envFile: "vars",
  include: ["data", { host: "data", guest: "/srv" }],
});`;

describe("spore.config.ts", () => {
  test("says what the flags would say; paths start from the project", () => {
    config(full);
    writeFileSync(join(project, "vars"), "# comment\nA=file\nC='file c'\n");
    const { contents, defaults, configFile } = resolved();
    expect(contents).toEqual({
      target: "app",
      base: cwd,
      entry: "src/main.ts",
      node: 22,
      patch: false,
      include: [
        { host: join(project, "data"), guest: join(project, "data") },
        { host: join(project, "data"), guest: "/srv" },
      ],
    });
    expect(defaults).toEqual({
      memory: 256 << 20,
      cwd: "/data",
      args: ["--fast"],
      env: { A: "config", B: "config", C: "file c" },
      publish: [
        { address: "127.0.0.1", host: 8080, guest: 80 },
        { address: "127.0.0.1", host: 0, guest: 81 },
      ],
    });
    expect(configFile).toBe(join(project, "spore.config.ts"));
  });

  test("is that of the project which a module belongs to; the module is the entry", () => {
    config(full);
    writeFileSync(join(project, "vars"), "");
    mkdirSync(join(project, "src"));
    writeFileSync(join(project, "src/worker.mts"), "");
    // Without a package.json a module is a project by itself.
    const alone = resolved({}, undefined, "app/src/worker.mts");
    expect(alone.contents).toEqual({ target: join(project, "src"), base: cwd, entry: "worker.mts" });
    writeFileSync(join(project, "package.json"), `{"type":"module"}`);
    const { contents, configFile } = resolved({}, undefined, "app/src/worker.mts");
    expect(contents).toMatchObject({ target: project, entry: "src/worker.mts", node: 22 });
    expect(configFile).toBe(join(project, "spore.config.ts"));
  });

  test("flags win over it, added files come together, arguments after -- replace its own", () => {
    config(full);
    writeFileSync(join(project, "vars"), "");
    writeFileSync(join(cwd, "flagvars"), "B=flagfile\nD=flagfile\n");
    const { contents, defaults } = resolved(
      {
        memory: 1 << 30,
        node: 26,
        cwd: "/",
        publish: [{ address: "127.0.0.1", host: 1, guest: 2 }],
        env: [["D", "flag"]],
        "env-file": "flagvars",
        include: ["more:/more"],
      },
      [],
    );
    expect(contents).toMatchObject({ node: 26, patch: false });
    expect(contents.include?.map(({ guest }) => guest)).toEqual([join(project, "data"), "/srv", "/more"]);
    expect(contents.include?.at(-1)?.host).toBe(join(cwd, "more"));
    expect(defaults).toEqual({
      memory: 1 << 30,
      cwd: "/",
      args: [],
      env: { A: "config", B: "flagfile", D: "flag" },
      publish: [{ address: "127.0.0.1", host: 1, guest: 2 }],
    });
  });

  test("may be JavaScript, and may be absent", async () => {
    expect(resolved()).toEqual({
      contents: { target: "app", base: cwd },
      defaults: {},
      configFile: undefined,
    });
    config("export default { node: 26 };", "spore.config.mjs");
    expect(resolved().contents.node).toBe(26);
  });

  test.each([
    ["export default { memory: 'lots' };", "memory: expected an amount of memory"],
    ["export default { node: 23 };", "node: "],
    ["export default { prot: 1 };", '"prot"'],
    ["export default { publish: ['80'] };", "publish.0: "],
    ["export default { env: { A: 1 } };", "env.A: "],
    ["export const x = 1;", "no default export"],
    ["export default", ""],
    ["throw new Error('boom');", "boom"],
  ])("%s is refused with the file and the field", async (text, problem) => {
    config(text);
    const error = failure(() => resolved());
    expect(error.status).toBe(78);
    expect(error.message).toMatch(/^error\[SPORE_CONFIG_INVALID\]: /);
    expect(error.message).toContain(join(project, "spore.config.ts"));
    expect(error.message).toContain(problem);
  });
});

test("an environment file that is missing, a directory or no list of variables is named", async () => {
  writeFileSync(join(cwd, "nonsense"), "this is\nnot a list\n");
  writeFileSync(join(cwd, "slip"), "A=1\nB='one\ntwo' # said\n\nno variable\n");
  for (const [file, problem] of [
    ["none", "it does not exist"],
    ["app", "it is a directory"],
    ["nonsense", "line 1 is not KEY=VALUE"],
    ["slip", "line 5 is not KEY=VALUE"],
  ] as const) {
    const error = failure(() => resolved({ "env-file": file }));
    expect(error.message).toMatch(/^error\[SPORE_ENV_FILE\]: /);
    expect(error.message).toContain(problem);
  }
});

test("a target that is no directory has no configuration", async () => {
  writeFileSync(join(project, "program"), "");
  expect((await resolveSettings("app/program", noFlags, undefined, cwd)).configFile).toBeUndefined();
});
