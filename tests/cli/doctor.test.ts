// `spore doctor` and `--help`, on this machine, which has what Spore needs.
import { join } from "node:path";
import { expect, test } from "vitest";
import { run } from "../support/process.ts";
import { root, spore } from "../support/spore.ts";

test("doctor finds what the tests themselves need", async () => {
  const { stdout, stderr, status } = await spore(["doctor"]);
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  for (const name of ["kvm", "backend", "cpu", "memory", "node"]) {
    expect(stdout).toMatch(new RegExp(`^ok +${name} `, "m"));
  }
  const json = JSON.parse((await spore(["doctor", "--json"])).stdout) as {
    readonly ok: boolean;
    readonly checks: readonly { readonly name: string; readonly status: string }[];
  };
  expect(json.ok).toBe(true);
  expect(json.checks.find(({ name }) => name === "kvm")).toMatchObject({ status: "ok" });
});

test("help of every command, through the launcher", async () => {
  const launcher = join(root, "spore");
  const { stdout, status } = await run(launcher, ["--help"]);
  expect(status).toBe(0);
  for (const command of ["run", "build", "doctor", "bench"]) {
    expect(stdout).toContain(command);
    const page = await run(launcher, [command, "--help"]);
    expect(page).toMatchObject({ status: 0, stderr: "" });
    expect(page.stdout).toContain(`spore ${command}`);
  }
});
