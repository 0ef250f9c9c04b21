// Bad input: one line with a stable code and a next step, the right exit status, nothing left behind.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openPlace } from "../support/leftovers.ts";
import { type Ended, run, type StartOptions } from "../support/process.ts";
import { compile, folder } from "../support/programs.ts";
import { cli, root, spore, startSpore } from "../support/spore.ts";

const files = folder();
const place = openPlace(folder());
const hello = compile(files, "hello.c", "musl-gcc", "-static");
const example = join(root, "examples/hello");

afterEach(() => expect(place.leftovers()).toEqual([]));

/** Runs what must fail: nothing on standard output, one line on standard error. */
async function fails(words: readonly string[], options: StartOptions = place.options): Promise<Ended> {
  const ended = await spore(words, { deadline: 30_000, ...options });
  expect(ended.stdout).toBe("");
  expect(ended.stderr.trimEnd().split("\n")).toHaveLength(1);
  expect(ended.stderr).toMatch(/^error\[SPORE_[A-Z_]+\]: .+ — .+\n$/);
  expect(ended.stderr).not.toMatch(/panicked|\bat .*:\d+:\d+|node:internal|\.rs:/);
  return ended;
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(files, name);
  writeFileSync(path, content);
  chmodSync(path, 0o755);
  return path;
}

function project(name: string, content: Readonly<Record<string, string>>): string {
  const path = join(files, name);
  mkdirSync(path);
  for (const [each, text] of Object.entries(content)) writeFileSync(join(path, each), text);
  return path;
}

/** The hello program with some bytes changed. */
function changed(name: string, at: number, ...bytes: number[]): string {
  const program = readFileSync(hello);
  program.set(bytes, at);
  return file(name, program);
}

/** A program that needs a library, which is then deleted. */
function withoutLibrary(): string {
  const library = join(files, "libabsent.so");
  execFileSync("gcc", ["-shared", "-o", library, "-x", "c", "/dev/null"]);
  const program = compile(files, "hello.c", "gcc", "-Wl,--no-as-needed", `-L${files}`, "-labsent");
  rmSync(library);
  return program;
}

function pipe(): string {
  execFileSync("mkfifo", [join(files, "pipe")]);
  return join(files, "pipe");
}

function circle(): string {
  symlinkSync("circle", join(files, "circle"));
  return join(files, "circle");
}

const manifest = (fields: object): string => JSON.stringify({ name: "broken", type: "module", ...fields });

describe("targets", () => {
  test.each<[what: string, code: string, status: number, says: string, target: () => string]>([
    ["that do not exist", "SPORE_TARGET_NOT_FOUND", 66, "/nowhere/at/all", () => "/nowhere/at/all"],
    ["folders without an entry", "SPORE_NO_ENTRY", 66, "empty", () => project("empty", {})],
    [
      "projects whose entry is missing",
      "SPORE_NO_ENTRY",
      66,
      "gone.ts",
      () => project("gone", { "package.json": manifest({ main: "gone.ts" }) }),
    ],
    [
      "projects with a syntax error",
      "SPORE_BUNDLE_FAILED",
      65,
      "main.ts:2:",
      () => project("syntax", { "package.json": manifest({ main: "main.ts" }), "main.ts": "\nconst = 1;" }),
    ],
    [
      "projects that import what is not there",
      "SPORE_BUNDLE_FAILED",
      65,
      "not-installed",
      () =>
        project("import", {
          "package.json": manifest({ main: "main.ts" }),
          "main.ts": 'import "not-installed";',
        }),
    ],
    [
      "projects whose package.json is no JSON",
      "SPORE_",
      -1,
      "package.json",
      () => project("json", { "package.json": "{", "index.js": "" }),
    ],
    [
      "projects with a wrong field in spore.config.ts",
      "SPORE_CONFIG_INVALID",
      78,
      "memory",
      () =>
        project("config", {
          "package.json": manifest({}),
          "index.js": "",
          "spore.config.ts": "export default { memory: 'much' };",
        }),
    ],
    ["for another machine", "SPORE_ELF_MACHINE", 65, "", () => changed("arm", 18, 0xb7, 0)],
    ["of 32 bits", "SPORE_ELF_", 65, "", () => changed("narrow", 4, 1)],
    ["that are relocatable objects", "SPORE_ELF_INVALID", 65, "", () => changed("object", 16, 1, 0)],
    [
      "that are cut short",
      "SPORE_ELF_INVALID",
      65,
      "",
      () => file("short", readFileSync(hello).subarray(0, 100)),
    ],
    ["that are empty", "SPORE_ELF_INVALID", 65, "", () => file("nothing", "")],
    ["that are scripts", "SPORE_ELF_INVALID", 65, "", () => file("script", "#!/bin/sh\necho no\n")],
    ["that are devices", "SPORE_ELF_INVALID", 65, "", () => "/dev/null"],
    ["that are pipes nobody writes to", "SPORE_ELF_INVALID", 65, "not a regular file", pipe],
    ["that are links in a circle", "SPORE_FILE_UNREADABLE", 66, "symbolic links", circle],
    ["without a name", "SPORE_USAGE", 64, "TARGET is empty", () => ""],
    ["that need a missing library", "SPORE_LIBRARY_MISSING", 66, "libabsent.so", withoutLibrary],
    [
      "that need a missing interpreter",
      "SPORE_INTERPRETER_MISSING",
      66,
      "/nowhere/ld.so",
      () => compile(files, "hello.c", "gcc", "-Wl,--dynamic-linker=/nowhere/ld.so"),
    ],
  ])("%s", async (_, code, status, says, make) => {
    const target = make();
    for (const command of [["run"], ["build", "-o", join(files, "out.spore")]]) {
      const ended = await fails([...command, target]);
      expect(ended.stderr).toContain(`error[${code}`);
      expect(ended.stderr).toContain(says);
      if (status >= 0) expect(ended.status).toBe(status);
      else expect(ended.status).toBeGreaterThanOrEqual(64);
    }
    expect(() => readFileSync(join(files, "out.spore"))).toThrow("ENOENT");
  });
});

describe("options", () => {
  test.each<[words: readonly string[], code: string, status: number, says: string]>([
    [["run"], "SPORE_USAGE", 64, "TARGET"],
    [["fly"], "SPORE_USAGE", 64, "fly"],
    [["run", "--prot", "1:1", hello], "SPORE_USAGE", 64, "--prot"],
    [["run", "-p", "x", hello], "SPORE_USAGE", 64, "x"],
    [["run", "-p", "1:99999", hello], "SPORE_USAGE", 64, "99999"],
    [["run", "-e", "=x", hello], "SPORE_USAGE", 64, "=x"],
    [["run", "-m", "lots", hello], "SPORE_USAGE", 64, "lots"],
    [["run", "-q", "-m", "1M", hello], "SPORE_MEMORY_TOO_SMALL", 64, "24 MiB"],
    [["run", "--cwd", "relative", hello], "SPORE_USAGE", 64, "relative"],
    [["run", "--node", "8", example], "SPORE_", -1, "8"],
    [["run", "--env-file", "/nowhere", hello], "SPORE_ENV_FILE", 66, "/nowhere"],
    [["run", "--include", "/nowhere", hello], "SPORE_INCLUDE_NOT_FOUND", 66, "/nowhere"],
    [["run", "--include", `${hello}:`, hello], "SPORE_USAGE", 64, "is empty"],
    [["run", "--include", `${hello}:/`, hello], "SPORE_USAGE", 64, "directory /"],
    [["run", "--include", `${hello}:/etc`, hello], "SPORE_USAGE", 64, "directory /etc"],
    [["run", "--include", "/proc/self/mem", "/bin/true"], "SPORE_FILE_UNREADABLE", 66, "/proc/self/mem"],
    [["run", "--cwd", "/not/there", hello], "SPORE_CWD_MISSING", 66, "/not/there"],
    [["run", "-p", "8080:1", "-p", "8080:2", hello], "SPORE_USAGE", 64, "127.0.0.1:8080 is published twice"],
    [["run", "--gdb", "none", hello], "SPORE_USAGE", 64, "none"],
    [["build", hello], "SPORE_USAGE", 64, "--output"],
    [["build", hello, "-o", "/nowhere/x"], "SPORE_OUTPUT_WRITE", 73, "/nowhere/x"],
    [["build", hello, "-o", "/dev/full/x"], "SPORE_OUTPUT_WRITE", 73, "/dev/full"],
    [["build", hello, "-o", "/proc/self/fd"], "SPORE_OUTPUT_WRITE", 73, "is a directory"],
    [["build", hello, "-o", "/proc/self/stat"], "SPORE_OUTPUT_WRITE", 73, "/proc/self/stat"],
    [["build", hello, "-o", hello], "SPORE_USAGE", 64, "replace TARGET"],
  ])("%j", async (words, code, status, says) => {
    const ended = await fails(words);
    expect(ended.stderr).toContain(`error[${code}`);
    expect(ended.stderr).toContain(says);
    if (status >= 0) expect(ended.status).toBe(status);
    else expect(ended.status).toBeGreaterThanOrEqual(64);
  });

  test("an output that is a device stays one", async () => {
    const output = join(files, "device");
    execFileSync("mkfifo", [output]);
    const { stderr, status } = await fails(["build", hello, "-o", output]);
    expect(stderr).toContain("error[SPORE_OUTPUT_WRITE]");
    expect(stderr).toContain("not a regular file");
    expect(status).toBe(73);
    expect(statSync(output).isFIFO()).toBe(true);
  });

  test("memory too small for the program to start", async () => {
    const { stderr, status } = await fails(["run", "-q", "-m", "32M", example]);
    expect(stderr).toContain("error[SPORE_GUEST_MEMORY]");
    expect(status).toBe(137);
  });

  test("more memory than the host has", async () => {
    const { stderr, status } = await fails(["run", "-m", "60T", hello]);
    expect(stderr).toMatch(/^error\[SPORE_(MEMORY_UNAVAILABLE|USAGE)\]/);
    expect([71, 64]).toContain(status);
  });
});

describe("ports", () => {
  const taken = net.createServer();
  let port = 0;
  beforeAll(async () => {
    taken.listen(0, "127.0.0.1");
    await once(taken, "listening");
    port = (taken.address() as net.AddressInfo).port;
  });
  afterAll(() => taken.close());

  test("a port that is taken, asked for with --publish", async () => {
    const ended = await spore(["run", "-q", "-p", `${port}:8080`, example], place.options);
    expect(ended.stderr).toMatch(
      new RegExp(`^error\\[SPORE_PORT_TAKEN\\]: 127\\.0\\.0\\.1:${port} .* — .*--publish`, "m"),
    );
    expect(ended.status).toBe(69);
  });

  test("a port that is taken, wanted by the program alone", async () => {
    const ended = await spore(["run", "-q", "-e", `PORT=${port}`, example], place.options);
    expect(ended.stderr).toMatch(/^error\[SPORE_PORT_TAKEN\]/m);
    // The program runs already, and is told what Linux tells: how it ends is its own affair.
    expect(ended.stderr).toContain("code: 'EADDRINUSE'");
    expect(ended.status).toBe(1);
  });

  test("an address that this host does not have", async () => {
    const ended = await fails(["run", "-p", "192.0.2.1:0:8080", example]);
    expect(ended.stderr).toContain("192.0.2.1");
    expect(ended.status).toBeGreaterThanOrEqual(64);
  });
});

describe("the machine", () => {
  /** Runs the command where /dev/kvm is something else, without being root. */
  const instead = (setUp: string): Promise<Ended> =>
    run(
      "unshare",
      [
        ...["--user", "--map-root-user", "--mount", "sh", "-ec"],
        // The second user namespace gives up what root may do.
        `${setUp}\nexec unshare --user --map-user=1000 "$@"`,
        ...["sh", ...cli, "run", hello],
      ],
      place.options,
    );

  test("without /dev/kvm", async () => {
    const dev = join(files, "dev");
    mkdirSync(dev);
    const { stderr, status } = await instead(`
      mount -t tmpfs none ${dev}
      for name in null zero full random urandom tty; do
        : >${dev}/$name
        mount --bind /dev/$name ${dev}/$name
      done
      mount --rbind ${dev} /dev`);
    expect(stderr).toMatch(/^error\[SPORE_KVM_MISSING\]: \/dev\/kvm does not exist — .*\n$/);
    expect(status).toBe(69);
  });

  test("without permission for it", async () => {
    const closed = file("closed", "");
    chmodSync(closed, 0);
    const { stderr, status } = await instead(`mount --bind ${closed} /dev/kvm`);
    expect(stderr).toMatch(
      /^error\[SPORE_KVM_PERMISSION\]: no permission to open \/dev\/kvm — .*usermod.*\n$/,
    );
    expect(status).toBe(77);
  });

  test("with something else in its place", async () => {
    const other = file("other", "");
    chmodSync(other, 0o666);
    const { stderr, status } = await instead(`mount --bind ${other} /dev/kvm`);
    expect(stderr).toMatch(/^error\[SPORE_KVM_FAILED\]: .* — see `spore doctor`\n$/m);
    expect(status).toBe(71);
  });

  test("a store that cannot be written", async () => {
    const blocked = file("blocked", "");
    const options = { env: { ...place.options.env, SPORE_HOME: join(blocked, "store") } };
    const { stderr, status } = await fails(["run", hello], options);
    expect(stderr).toMatch(/^error\[SPORE_OUTPUT_WRITE\]: .*SPORE_HOME/);
    expect(status).toBe(73);
  });
});

describe("images", () => {
  const image = join(files, "whole.spore");
  const damaged = join(files, "damaged.spore");
  beforeAll(async () => {
    const ended = await spore(["build", "-o", image, hello], place.options);
    expect(ended).toMatchObject({ status: 0 });
  });

  test("with a flipped byte: told, whatever byte of header and tables it is", async () => {
    const whole = readFileSync(image);
    // Every byte up to the first layer is checked in packages/image; here, what the user sees of some.
    for (const at of [0, 1, 9, 17, 33, 64, 100, 200, 400]) {
      copyFileSync(image, damaged);
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      writeFileSync(damaged, bytes);
      const { stderr, status } = await fails(["run", damaged]);
      expect(stderr, `byte ${at}`).toMatch(/^error\[SPORE_(IMAGE_DAMAGED|IMAGE_FORMAT|ELF_INVALID)\]/);
      expect(status).toBe(65);
    }
  });

  test("cut short anywhere", async () => {
    const whole = readFileSync(image);
    for (const length of [8, 100, 4096, whole.length >> 1, whole.length - 1]) {
      writeFileSync(damaged, whole.subarray(0, length));
      const { stderr, status } = await fails(["run", damaged]);
      expect(stderr, `${length} bytes`).toMatch(/^error\[SPORE_(IMAGE_DAMAGED|ELF_INVALID)\]/);
      expect(status).toBe(65);
    }
  });

  test("a build that is killed leaves no file that looks whole, and the next one cleans up", async () => {
    const fresh = folderWith("killed");
    const output = join(fresh, "out.spore");
    const store = join(fresh, "store");
    const env = { ...place.options.env, SPORE_HOME: store };
    // Killed at different moments: at once, and whenever something new has been written.
    for (let moment = 0; moment < 6; moment++) {
      await using build = startSpore(["build", "-o", output, example], { env });
      await new Promise((resolve) => setTimeout(resolve, 60 * moment));
      build.signal("SIGKILL");
      await build.ended;
      const ended = await spore(["run", "-q", output, "--", "x"], { env, deadline: 3000 }).catch(
        () => undefined,
      );
      // Either it is whole and serves until the deadline, or it is not there.
      if (ended !== undefined) expect(ended.stderr).toContain("error[SPORE_TARGET_NOT_FOUND]");
    }
    expect(await spore(["build", "-o", output, example], { env })).toMatchObject({ status: 0 });
    const names = execFileSync("find", [fresh, "-name", "*.tmp"], { encoding: "utf8" });
    expect(names).toBe("");
  });
});

function folderWith(name: string): string {
  const path = join(files, name);
  mkdirSync(path);
  return path;
}

test("a crash inside the library OS names its function", async () => {
  const program = compile(files, "break-kernel.c", "gcc", "-w", "-static");
  const { stderr, status } = await spore(["run", "-q", program], place.options);
  expect(stderr).toMatch(/^ {2}at {3}0x7f8000200100 {2}spore_fast_entry\+0x0 in the library OS\+0x100$/m);
  expect(stderr).toMatch(
    /error\[SPORE_GUEST_CRASH\]: .* SIGILL .*, at spore_fast_entry\+0x0 in the library OS/,
  );
  expect(status).toBe(128 + 4);
});

test("a crash is the last event, and its explanation stands on standard error", async () => {
  const crash = compile(files, "faults.c", "gcc", "-w");
  const { stdout, stderr, status } = await spore(["run", "--json", crash, "--", "null"], place.options);
  expect(stdout.trimEnd().split("\n").at(-1)).toBe('{"event":"exited","signal":"SIGSEGV"}');
  expect(stderr).toMatch(/^error\[SPORE_GUEST_CRASH\]: .*SIGSEGV.*at address 0x0.* — /m);
  expect(status).toBe(139);
});

describe("nothing is left behind", () => {
  test("by runs that end, crash, are killed or stopped", async () => {
    const crash = compile(files, "faults.c", "gcc", "-w");
    await spore(["run", "-q", hello], place.options);
    await spore(["run", "-q", crash, "--", "null"], place.options);
    for (const signal of ["SIGTERM", "SIGINT", "SIGKILL"] as const) {
      await using guest = startSpore(["run", "--json", "-p", "0:8080", example], place.options);
      await guest.says("stdout", /"listening"/);
      expect(place.leftovers()).toHaveLength(1);
      guest.signal(signal);
      await guest.ended;
      expect(place.leftovers()).toEqual([]);
    }
  });
});
