// The program's standard streams are its own: pipes stay pipes, a terminal stays a terminal.

import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { run } from "../support/process.ts";
import { compile, folder } from "../support/programs.ts";
import { cli, fixtures, node, runTarget, spore, startSpore } from "../support/spore.ts";

const place = folder();
const cat = "/bin/cat";
const probes = join(fixtures, "node-probes");
const quoted = (words: readonly string[]): string => words.map((word) => `'${word}'`).join(" ");

describe("pipes", () => {
  test("what goes in comes out, byte for byte, through a guest", async () => {
    const input = randomBytes(3_000_000).toString("base64");
    const { stdout, stderr, status } = await runTarget([cat], { input });
    const digest = (text: string): string => createHash("sha256").update(text).digest("hex");
    expect(digest(stdout)).toBe(digest(input));
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  });

  test("output that has no room is told, whatever the program thinks of it", async () => {
    const { stderr, status } = await run("sh", [
      "-c",
      `${quoted([...cli, "run", "-q", "/bin/echo", "--", "x"])} >/dev/full`,
    ]);
    expect(stderr).toMatch(/^error\[SPORE_OUTPUT_WRITE\]: cannot write standard output: No space left/);
    expect(status).toBe(73);
  });

  test("input arrives as it is written, and its end is an end", async () => {
    await using guest = startSpore(["run", "--quiet", cat], { openInput: true });
    for (const line of ["first", "second"]) {
      guest.child.stdin.write(`${line}\n`);
      await guest.says("stdout", new RegExp(`^${line}$`, "m"));
    }
    guest.child.stdin.end();
    expect(await guest.ended).toEqual({ stdout: "first\nsecond\n", stderr: "", status: 0 });
  });

  test("standard output and error stay apart", async () => {
    const source = "console.log('out'); console.error('err'); process.exitCode = 3";
    expect(await runTarget([node, "--", "-e", source])).toEqual({
      stdout: "out\n",
      stderr: "err\n",
      status: 3,
    });
  });

  test("a reader that goes away ends the writer by SIGPIPE, as on Linux", async () => {
    const command = quoted([...cli, "run", "--quiet", "/usr/bin/yes"]);
    const guest = await run("bash", ["-c", `${command} | head -n 2; echo "$\{PIPESTATUS[0]}"`]);
    const linux = await run("bash", ["-c", `yes | head -n 2; echo "$\{PIPESTATUS[0]}"`]);
    expect(guest).toEqual(linux);
  });

  test("files: input is read from where it stands, output is written where it stands", async () => {
    const [from, to] = [join(place, "from"), join(place, "to")];
    writeFileSync(from, "the content of a file\n");
    writeFileSync(to, "before\n");
    const [input, output] = [openSync(from, "r"), openSync(to, "a")];
    const { status } = spawnSync(node, [...cli.slice(1), "run", "--quiet", cat], {
      stdio: [input, output, "inherit"],
    });
    closeSync(input);
    closeSync(output);
    expect(status).toBe(0);
    expect(readFileSync(to, "utf8")).toBe("before\nthe content of a file\n");
  });

  test("streams that are closed or /dev/null do no harm", async () => {
    for (const streams of ["<&- >&- 2>&-", "</dev/null >/dev/null 2>/dev/null"]) {
      const command = `${quoted(cli)} run --quiet '${compile(place, "hello.c", "gcc")}' -- x 6 ${streams}`;
      expect((await run("bash", ["-c", command])).status).toBe(6);
    }
  });
});

interface Played {
  readonly output: string;
  readonly status: number;
  readonly restored: boolean;
}

interface Step {
  readonly see: string;
  readonly type?: string;
  readonly size?: readonly [rows: number, columns: number];
}

/** Runs a command at a terminal; a user reacts to what it shows. */
async function atTerminal(steps: readonly Step[], command: readonly string[]): Promise<Played> {
  const player = join(fixtures, "terminal/at-terminal.py");
  const args = [player, JSON.stringify(steps), ...command];
  const { stdout, stderr } = await run("/usr/bin/python3", args, { env: { TERM: "xterm-256color" } });
  if (stdout === "") throw new Error(stderr);
  return JSON.parse(stdout) as Played;
}

describe("terminal", () => {
  const guest = (...words: string[]): string[] => [...cli, "run", "--quiet", ...words];
  const onLinux = [node, join(probes, "src/main.ts")];

  test("isatty, size, raw mode, a new size and TERM are as on Linux", async () => {
    const steps: readonly Step[] = [
      { see: "ready", type: "a" },
      { see: "keys 61", type: "\u0003" },
      { see: "keys 03", type: "\u001b[A" },
      { see: "keys 1b5b41", size: [40, 120] },
      { see: "resized", type: "q" },
    ];
    const linux = await atTerminal(steps, [...onLinux, "terminal"]);
    expect(linux.output).toContain("terminal true true true\nsize 100 30 xterm-256color\n");
    expect(linux.output).toContain("resized 120 40\n");
    expect(linux).toMatchObject({ status: 4, restored: true });
    expect(await atTerminal(steps, guest(probes, "--", "terminal"))).toEqual(linux);
  });

  test("Ctrl-C at the terminal is SIGINT for the program", async () => {
    const steps = [
      { see: "ready", type: "\u0003" },
      { see: "SIGINT", type: "" },
    ];
    const source =
      "process.once('SIGINT', (s) => { console.log(s); process.exit(9) }); setInterval(() => {}, 999); console.log('ready')";
    const played = await atTerminal(steps, guest(node, "--", "-e", source));
    expect(played).toEqual({ output: "ready\n^CSIGINT\n", status: 9, restored: true });
  });

  test("lines are edited by the terminal, and Ctrl-D ends the input", async () => {
    const steps = [{ see: "", type: "wrong\u0015right\n\u0004" }];
    const linux = await atTerminal(steps, [cat]);
    const played = await atTerminal(steps, guest(cat));
    expect(played.output.endsWith("right\nright\n")).toBe(true);
    expect(played).toMatchObject({ status: linux.status, restored: true });
  });

  test.each(["", "crash"])(
    "a program that leaves it raw does not leave it so to the shell %s",
    async (how) => {
      const program = compile(place, "raw-terminal.c", "gcc", "-w");
      const steps = [{ see: "raw", type: "A" }];
      const played = await atTerminal(steps, guest(program, "--", how));
      expect(played).toMatchObject({ status: how === "" ? 65 : 139, restored: true });
    },
  );

  test("without --quiet, the address is a line at the terminal", async () => {
    const steps = [{ see: "http://127.0.0.1:", type: "\u0003" }];
    const words = [...cli, "run", "-p", "0:8080", join(fixtures, "../../examples/hello")];
    const played = await atTerminal(steps, words);
    expect(played.output).toMatch(/^http:\/\/127\.0\.0\.1:\d+\n/m);
    expect(played).toMatchObject({ status: 130, restored: true });
  });
});

test("output of --json is events alone, whatever the program prints", async () => {
  const { stdout, stderr, status } = await spore(["run", "--json", cat], { input: "a line\nand another" });
  expect(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).event),
  ).toEqual(["built", "booted", "exited"]);
  expect({ stderr, status }).toEqual({ stderr: "a line\nand another", status: 0 });
});
