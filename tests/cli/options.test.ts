// The options of `spore run`, each seen from inside of the guest or at its ports.
import { once } from "node:events";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { run } from "../support/process.ts";
import { compile, folder } from "../support/programs.ts";
import { eventsOf, node, root, runTarget, serve, spore, startSpore } from "../support/spore.ts";

const place = folder();
const hello = compile(place, "hello.c", "musl-gcc", "-static");
/** Runs JavaScript in the guest, on the repository's own Node.js as a plain program. */
const evaluate = (source: string, ...words: string[]) => runTarget([...words, node, "--", "-p", source]);

describe("--publish", () => {
  const server = join(root, "examples/hello");

  test("several ports and addresses; host port 0 says which it is", async () => {
    await using running = startSpore([
      "run",
      "--json",
      ...["-p", "0:8080", "--publish", "127.0.0.2:0:8080"],
      server,
    ]);
    await running.says("stdout", /listening.*\n.*listening.*\n/);
    const urls = eventsOf(running.said.stdout).flatMap((each) =>
      each.event === "listening" ? [{ port: each.guestPort, url: new URL(each.url) }] : [],
    );
    expect(urls.map(({ port, url }) => [port, url.hostname]).sort()).toEqual([
      [8080, "127.0.0.1"],
      [8080, "127.0.0.2"],
    ]);
    for (const { url } of urls) expect(await (await fetch(url)).text()).toBe("Hello from Spore\n");
  });

  test("people get the address as a line, on standard error where output is a pipe", async () => {
    await using running = startSpore(["run", "-p", "0:8080", server]);
    const [url] = await running.says("stderr", /^http:\/\/127\.0\.0\.1:\d+$/m);
    expect((await fetch(url)).status).toBe(200);
    expect(running.said.stdout).toBe("listening on port 8080\n");
  });

  test("the same port again, right after a run whose connections linger in TIME_WAIT", async () => {
    const free = net.createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as net.AddressInfo;
    free.close();
    await once(free, "close");
    for (const flags of [
      ["-p", `${port}:8080`],
      ["-p", `${port}:8080`],
      ["-e", `PORT=${port}`],
    ]) {
      await using running = startSpore(["run", "--json", ...flags, server]);
      await running.says("stdout", /"event":"listening"/);
      // The server closes first, so that its side of the connection lingers.
      const { stdout } = await run("curl", ["-sS", "-H", "Connection: close", `http://127.0.0.1:${port}/`]);
      expect(stdout).toBe("Hello from Spore\n");
      running.signal("SIGTERM");
      expect((await running.ended).status).toBe(143);
    }
  });

  test("a port that the program does not listen on is not connected", async () => {
    await using running = await serve(8080, ["-p", "0:8081", server]);
    expect(eventsOf(running.said.stdout).filter(({ event }) => event === "listening")).toHaveLength(1);
  });
});

describe("environment", () => {
  test("--env, --env-file and their order; nothing of the host comes along", async () => {
    const file = join(place, "variables");
    writeFileSync(file, '# comment\nFROM_FILE=file\n\nBOTH=file\nQUOTED="two words"\n');
    const { stdout } = await runTarget(
      ["-e", "BOTH=flag", "--env", "EQUALS=a=b", "-e", "EMPTY=", "--env-file", file, hello, "--", "@"],
      { env: { SECRET_OF_HOST: "secret" } },
    );
    const lines = stdout.split("\n");
    for (const line of ["FROM_FILE=file", "BOTH=flag", "EQUALS=a=b", "EMPTY=", "QUOTED=two words"]) {
      expect(lines).toContain(line);
    }
    expect(stdout).not.toContain("BOTH=file");
    expect(stdout).not.toContain("SECRET_OF_HOST");
  });

  test("--cwd", async () => {
    const { stdout } = await runTarget(["--cwd", place, hello, "--", "@"]);
    expect(stdout.split("\n")).toContain(`in ${place}`);
  });
});

test("--include: files and folders, at their own place or another", async () => {
  const from = join(place, "data");
  mkdirSync(join(from, "deep"), { recursive: true });
  writeFileSync(join(from, "deep/file"), "deep file");
  symlinkSync("deep/file", join(from, "link"));
  writeFileSync(join(place, "single"), "single file");
  const source = `const fs = require("fs"); JSON.stringify([
    fs.readFileSync("/else/where/deep/file", "utf8"), fs.readlinkSync("/else/where/link"),
    fs.readFileSync("/else/where/link", "utf8"), fs.readFileSync("${join(place, "single")}", "utf8")])`;
  const includes = ["--include", `${from}:/else/where`, "--include", join(place, "single")];
  const { stdout, stderr } = await evaluate(source, ...includes);
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual(["deep file", "deep/file", "deep file", "single file"]);
});

test("--memory is what the program sees, and what it gets", async () => {
  const { stdout } = await evaluate("require('os').totalmem() / 2 ** 20", "-m", "256M");
  expect(Number(stdout)).toBeGreaterThan(220);
  expect(Number(stdout)).toBeLessThanOrEqual(256);
  const fill = "const b = []; for (let i = 0; i < 50; i++) b.push(Buffer.alloc(1 << 24, 1)); b.length";
  expect((await evaluate(fill, "-m", "1G")).stdout).toBe("50\n");
  const { stderr, status } = await evaluate(fill, "-m", "256M");
  expect(stderr).toBe(
    "error[SPORE_GUEST_MEMORY]: the guest's memory is used up — give it more with `--memory`\n",
  );
  expect(status).toBe(137);
});

test("--trace: calls, arguments and results as strace prints them", async () => {
  const traced = await spore(["run", "--quiet", "--trace", hello, "--", "one"]);
  const strace = await run("strace", [hello, "one"]);
  expect(traced.stdout).toBe("hello [one]\n");
  /** Addresses and thread ids are each system's own. */
  const calls = (text: string): string[] =>
    text
      .split("\n")
      .map((line) => /^(?:\[pid +\d+\] )?(\w+)\(.*\) += (.*)$/.exec(line))
      .flatMap((match) => (match === null || match[1] === "execve" ? [] : [`${match[1]} = ${match[2]}`]))
      .map((line) => line.replace(/^(set_tid_address) = \d+/, "$1 = id"));
  expect(calls(strace.stderr).length).toBeGreaterThan(3);
  expect(calls(traced.stderr)).toEqual(calls(strace.stderr));
  expect(traced.stderr).toMatch(/\n\+\+\+ exited with 0 \+\+\+\n$/);

  const { stderr } = await spore(["run", "-q", "--trace", "/bin/cat", "--", "/nowhere"]);
  expect(stderr).toMatch(/openat\(AT_FDCWD, "\/nowhere", .*\) += -1 ENOENT \(No such file or directory\)\n/);
  expect(stderr).toMatch(/write\(2, "\/nowhere", 8\) += 8\n/);
});

test("--json: built, booted, listening and exited, in this order", async () => {
  await using server = await serve(8080, [join(root, "examples/hello")]);
  server.signal("SIGTERM");
  const { stdout, status } = await server.ended;
  const events = eventsOf(stdout);
  expect(events.map(({ event }) => event)).toEqual(["built", "booted", "listening", "exited"]);
  expect(events).toMatchObject([
    { digest: expect.stringMatching(/^[0-9a-f]{64}$/), reused: expect.any(Boolean) },
    { ms: expect.any(Number) },
    { guestPort: 8080, url: server.url },
    { signal: "SIGTERM" },
  ]);
  expect(status).toBe(143);
  const ended = await spore(["run", "--json", hello, "--", "x", "7"]);
  expect(eventsOf(ended.stdout).at(-1)).toEqual({ event: "exited", exitCode: 7 });
  expect(ended.stderr).toBe("hello [x] [7]\n");
});

test("--quiet: nothing but what the program prints, also when it is built first", async () => {
  const fresh = compile(folderOf("quiet"), "hello.c", "gcc", "-static", "-O2");
  expect(await runTarget([fresh])).toEqual({ stdout: "hello\n", stderr: "", status: 0 });
});

function folderOf(name: string): string {
  mkdirSync(join(place, name));
  return join(place, name);
}

describe("what was built is used again", () => {
  const launcher = join(root, "spore");
  const words = ["run", "--json"];
  // Sources that are newer than what was built from them would be built first, and said so.
  beforeAll(async () => {
    expect(await run(launcher, ["setup"], { deadline: 290_000 })).toMatchObject({ status: 0 });
  });

  test("until the target changes; directly and through the launcher", async () => {
    const project = folderOf("reused");
    writeFileSync(join(project, "package.json"), '{"name":"reused","type":"module","main":"main.ts"}');
    writeFileSync(join(project, "main.ts"), 'import { word } from "./word.ts";\nconsole.log(word);\n');
    writeFileSync(join(project, "word.ts"), 'export const word: string = "first";\n');
    const env = { SPORE_HOME: join(place, "store") };
    const outcome = async (command: string): Promise<[boolean, string]> => {
      const { stdout, stderr } =
        command === ""
          ? await spore([...words, project], { env })
          : await run(command, [...words, project], { env });
      const [built] = eventsOf(stdout);
      if (built?.event !== "built") throw new Error(stdout + stderr);
      return [built.reused, stderr];
    };
    expect(await outcome("")).toEqual([false, "first\n"]);
    expect(await outcome("")).toEqual([true, "first\n"]);
    for (const word of ["second", "third"]) {
      writeFileSync(join(project, "word.ts"), `export const word: string = "${word}";\n`);
      expect(await outcome(launcher)).toEqual([false, `${word}\n`]);
      expect(await outcome(launcher)).toEqual([true, `${word}\n`]);
      expect(await outcome(launcher)).toEqual([true, `${word}\n`]);
    }
  });

  test("and other arguments and variables reach the program all the same", async () => {
    for (const [word, code] of [
      ["a", 1],
      ["b", 2],
    ] as const) {
      const ran = await run(launcher, [
        "run",
        "--quiet",
        "-e",
        `WORD=${word}`,
        hello,
        "--",
        "@",
        String(code),
      ]);
      expect(ran.stdout).toContain(`WORD=${word}\n`);
      expect(ran.status).toBe(code);
    }
  });
});

test("--explain says what was detected, and why", async () => {
  const { stdout, stderr } = await spore(["run", "--explain", hello]);
  expect(stdout).toBe("hello\n");
  expect(stderr).toMatch(/^spore: target +\S*hello\S* \(/m);
});

test("the guest's network: outwards but to link-local and metadata addresses", async () => {
  const listener = net.createServer((socket) => socket.end("reached")).listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  const { port } = listener.address() as net.AddressInfo;
  const connect = (host: string, port: number) =>
    runTarget([
      node,
      "--",
      "-e",
      `const s = require("net").connect({ host: "${host}", port: ${port}, timeout: 5000 });
       s.on("data", (d) => console.log(String(d))).on("error", (e) => console.log(e.code)).on("timeout", () => s.destroy());`,
    ]);
  try {
    expect((await connect("127.0.0.1", port)).stdout).toBe("reached\n");
    expect((await connect("169.254.169.254", 80)).stdout).toMatch(
      /^(EACCES|EPERM|ENETUNREACH|EHOSTUNREACH|ECONNREFUSED)\n$/,
    );
    expect((await connect("fe80::1", 80)).stdout).toMatch(/^E[A-Z]+\n$/);
  } finally {
    listener.close();
  }
});
