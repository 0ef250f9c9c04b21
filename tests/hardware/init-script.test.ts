// What the console says is what happened, also when the machine itself fails.
import { expect, it } from "vitest";
import { readConsole } from "./init-script.ts";

const RUN = "\n#spore stdout a\nout\nput\n#spore stderr a\n\n#spore status a 3\n";

it("finds each program's output and status", () => {
  const outcomes = readConsole(`boot noise${RUN}#spore done\n`);
  expect([...outcomes]).toEqual([["a", { stdout: "out\nput", stderr: "", status: 3 }]]);
});

it("names what went wrong with the machine", () => {
  expect(() => readConsole("\n#spore no-kvm\nkvm: no hardware support\n")).toThrow(
    /kvm-amd does not come up .*\nkvm: no/,
  );
  expect(() => readConsole(`${RUN}Kernel panic`)).toThrow(/did not get to its end[\s\S]*Kernel panic/);
});
