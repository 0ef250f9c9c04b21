// Exit statuses and signals: a run ends as the program does, and stops when it is told to.
import { describe, expect, test } from "vitest";
import { run } from "../support/process.ts";
import { compile, folder } from "../support/programs.ts";
import { node, runTarget, startSpore } from "../support/spore.ts";

const place = folder();
const stubborn = compile(place, "stubborn.c", "gcc");

test.each([0, 1, 42, 255])("exit status %i is the program's", async (code) => {
  const { status } = await runTarget([node, "--", "-e", `process.exit(${code})`]);
  expect(status).toBe(code);
});

test.each(["SIGTERM", "SIGKILL", "SIGUSR1", "SIGPIPE", "SIGALRM", "SIGHUP"] as const)(
  "a program that %s ends: 128 + n, as a shell says it",
  async (signal) => {
    const program = compile(place, "raise.c", "gcc", `-DSIGNAL=${signal}`);
    const linux = await run("bash", ["-c", `${program}; exit $?`]);
    expect(linux.status).toBeGreaterThan(128);
    expect((await runTarget([program])).status).toBe(linux.status);
  },
);

describe.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const)(
  "%s from outside",
  (signal) => {
    const numbers = { SIGTERM: 15, SIGINT: 2, SIGHUP: 1, SIGQUIT: 3, SIGUSR1: 10, SIGUSR2: 12 };

    test("ends a program that does nothing about it", async () => {
      await using guest = startSpore(["run", "--json", "/bin/sleep", "--", "1000"]);
      await guest.says("stdout", /"booted"/);
      guest.signal(signal);
      const ended = await guest.ended;
      expect(ended.status).toBe(128 + numbers[signal]);
      expect(ended.stdout).toContain(`{"event":"exited","signal":"${signal}"}`);
    });

    test("is the program's to handle", async () => {
      const source = `process.once("${signal}", (name) => { console.log(name); process.exit(3); }); setInterval(() => {}, 999); console.log("ready")`;
      await using guest = startSpore(["run", "--quiet", node, "--", "-e", source]);
      await guest.says("stdout", /ready/);
      guest.signal(signal);
      expect(await guest.ended).toEqual({ stdout: `ready\n${signal}\n`, stderr: "", status: 3 });
    });
  },
);

describe("a program that does not stop", () => {
  test("is stopped after 10 seconds", async () => {
    await using guest = startSpore(["run", "--quiet", stubborn]);
    await guest.says("stdout", /ready/);
    const before = performance.now();
    guest.signal("SIGTERM");
    const { status } = await guest.ended;
    const seconds = (performance.now() - before) / 1000;
    expect(status).toBe(143);
    expect(seconds).toBeGreaterThan(9.5);
    expect(seconds).toBeLessThan(15);
  });

  test("is stopped by the third Ctrl-C", async () => {
    await using guest = startSpore(["run", "--quiet", stubborn]);
    await guest.says("stdout", /ready/);
    // Each has to arrive before the next: a pending signal is one signal, however often it is sent.
    const ended = guest.ended;
    const again = setInterval(() => guest.signal("SIGINT"), 100);
    const { status } = await ended.finally(() => clearInterval(again));
    expect(status).toBe(130);
  });

  test("cannot keep the machine: SIGKILL ends it at once", async () => {
    await using guest = startSpore(["run", "--quiet", stubborn]);
    await guest.says("stdout", /ready/);
    guest.signal("SIGKILL");
    expect((await guest.ended).status).toBe(137);
  });

  test("an endless loop hears SIGTERM too", async () => {
    const spin = compile(place, "spin.c", "gcc");
    await using guest = startSpore(["run", "--quiet", spin]);
    await guest.says("stdout", /ready/);
    guest.signal("SIGTERM");
    expect((await guest.ended).status).toBe(143);
  });
});
