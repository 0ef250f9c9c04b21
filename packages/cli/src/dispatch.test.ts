import { describe, expect, test } from "vitest";
import { commands } from "./commands/index.ts";
import { dispatch } from "./dispatch.ts";
import { cliReference } from "./reference.ts";
import { testContext } from "./test-context.ts";

async function spore(...words: string[]): Promise<{ status: number; output: string; errors: string }> {
  const context = testContext();
  const status = await dispatch(words, context);
  return { status, output: context.output(), errors: context.errors() };
}

describe("help", () => {
  test("spore --help", async () => {
    const { status, output } = await spore("--help");
    expect(status).toBe(0);
    expect(output).toMatchSnapshot();
    expect(output).not.toContain("crash-report");
  });

  test.each(commands.filter(({ hidden }) => !hidden).map(({ name }) => name))(
    "spore %s --help",
    async (name) => {
      const { status, output } = await spore(name, "--help");
      expect(status).toBe(0);
      expect(output).toMatchSnapshot();
      expect(await spore("help", name)).toEqual({ status, output, errors: "" });
      for (const line of output.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
    },
  );

  test("docs/reference/cli.md is what the commands say (vitest -u writes it)", async () => {
    await expect(cliReference(commands)).toMatchFileSnapshot("../../../docs/reference/cli.md");
  });

  test("no command prints the help to standard error and fails", async () => {
    const { status, output, errors } = await spore();
    expect(status).toBe(64);
    expect(output).toBe("");
    expect(errors).toContain("Commands:");
  });

  test("spore --version", async () => {
    expect((await spore("--version")).output).toMatch(/^spore \d+\.\d+\.\d+\n$/);
  });
});

describe("wrong use is one line, what to do, and status 64", () => {
  test.each([
    [["biuld"], 'unknown command "biuld" — did you mean `spore build`?'],
    [["frobnicate"], 'unknown command "frobnicate" — see `spore --help`'],
    [["--prot"], "unknown option --prot — options follow the command"],
    [["run"], "TARGET is missing — see `spore run --help`"],
    [["run", "--publich", "1:1", "x"], "unknown option --publich — did you mean --publish?"],
    [["run", "-z", "x"], "unknown option -z — see `spore run --help`"],
    [["run", "x", "y"], 'unexpected word "y" — put ARG of the program after `--`'],
    [["run", "--json=yes", "x"], "--json takes no value"],
    [["run", "x", "--memory"], "--memory needs a value: --memory SIZE"],
    [["run", "-m", "lots", "x"], '-m "lots": expected an amount of memory'],
    [["run", "-p", "80", "x"], '-p "80": expected [ADDR:]HOST:GUEST'],
    [["run", "--node", "23", "x"], '--node "23": expected one of 22, 24, 26'],
    [["run", "-e", "A", "x"], '-e "A": expected KEY=VALUE'],
    [["build", "x"], "--output FILE is missing — see `spore build --help`"],
    [["doctor", "--", "x"], "nothing may follow `--` here"],
    [["help", "rnu"], 'unknown command "rnu" — did you mean `spore run`?'],
  ])("spore %j", async (words, expected) => {
    const { status, output, errors } = await spore(...words);
    expect(status).toBe(64);
    expect(output).toBe("");
    expect(errors).toContain(`error[SPORE_USAGE]: ${expected}`);
    expect(errors.trimEnd().split("\n")).toHaveLength(1);
  });
});

test("a target that does not exist is named before anything is built", async () => {
  for (const words of [
    ["run", "./nowhere"],
    ["build", "./nowhere", "-o", "x.spore"],
  ]) {
    const { status, errors } = await spore(...words);
    expect(status).toBe(66);
    expect(errors).toMatch(/^error\[SPORE_TARGET_NOT_FOUND\]: \.\/nowhere does not exist — give .*\n$/);
  }
});
