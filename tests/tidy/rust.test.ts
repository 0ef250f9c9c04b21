// Rules for Rust that the compiler and clippy do not check by themselves.

import { describe, expect, test } from "vitest";
import { offences, text, tracked, written } from "./files.ts";

const manifests = tracked.filter((path) => path.endsWith("Cargo.toml"));
const crates = manifests.filter((path) => path !== "Cargo.toml");

/** Names under [dependencies]; development dependencies do not count. */
function dependencies(manifest: string): readonly string[] {
  const section = /^\[dependencies\]\n((?:(?!\[).*\n?)*)/m.exec(text(manifest))?.[1] ?? "";
  return [...section.matchAll(/^([\w-]+)/gm)].map((match) => match[1] ?? "");
}

describe("fenced-unsafe", () => {
  test("unsafe code stands in kernel/hal, monitor and abi only", () => {
    const outside = written(".rs").filter((path) => !/^(kernel\/hal|monitor|abi|tests|tools)\//.test(path));
    const code = (line: string): string => line.replace(/\/\/.*$/, "").replace(/"(\\.|[^"\\])*"/g, '""');
    const found = offences(outside, (line) =>
      /\bunsafe\b/.test(code(line)) && !/unsafe_code|unsafe_op_in_unsafe_fn|#!?\[/.test(line)
        ? line.trim()
        : undefined,
    );
    expect(found).toEqual([]);
  });

  test("the kernel refuses it by itself", () => {
    expect(text("kernel/src/lib.rs")).toMatch(/^#!\[(deny|forbid)\(unsafe_code\)\]/m);
  });

  test("every crate takes the workspace's lints, which want a SAFETY comment", () => {
    expect(text("Cargo.toml")).toMatch(/^undocumented_unsafe_blocks = "deny"/m);
    for (const manifest of crates) expect(text(manifest), manifest).toMatch(/^\[lints\]\nworkspace = true/m);
  });
});

describe("crate-arrows", () => {
  test("abi depends on nothing", () => {
    expect(dependencies("abi/Cargo.toml")).toEqual([]);
  });

  test("kernel and monitor meet only in abi", () => {
    const ours = (manifest: string) => dependencies(manifest).filter((name) => name.startsWith("spore-"));
    expect(ours("monitor/Cargo.toml")).toEqual(["spore-abi"]);
    expect(ours("kernel/hal/Cargo.toml")).toEqual(["spore-abi"]);
    expect(ours("kernel/Cargo.toml")).not.toContain("spore-monitor");
  });
});

test("reasoned-exceptions: a lint that is switched off says why", () => {
  const found = written(".rs").flatMap((path) => {
    const lines = text(path).split("\n");
    return lines.flatMap((line, index) => {
      const silent =
        /^\s*#!?\[(allow|expect)\(/.test(line) &&
        !/reason\s*=|\/\//.test(
          lines
            .slice(index, index + 6)
            .join("\n")
            .split("]")[0] ?? "",
        ) &&
        !/\/\//.test(line) &&
        !/^\s*\/\//.test(lines[index - 1] ?? "");
      return silent ? [`${path}:${index + 1}: ${line.trim()}`] : [];
    });
  });
  expect(found).toEqual([]);
});
