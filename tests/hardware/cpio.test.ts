// The archive, unpacked by a program that is not ours.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { copyOf, writeCpio } from "./cpio.ts";

it("is what cpio takes for an archive", () => {
  const folder = mkdtempSync(join(tmpdir(), "spore-cpio-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const archive = join(folder, "archive");
  const program = join(folder, "program");
  writeFileSync(program, Buffer.alloc(70_001, "x"), { mode: 0o755 });
  writeCpio(
    new Map([
      ["/a/b/text", { kind: "text", text: "hello", mode: 0o640 }],
      ["/a/empty", { kind: "text", text: "", mode: 0o644 }],
      ["/bin/program", copyOf(program)],
    ]),
    archive,
  );
  const output = join(folder, "output");
  mkdirSync(output);
  execFileSync("busybox", ["cpio", "-id"], { cwd: output, stdio: [openSync(archive, "r"), "pipe", "pipe"] });
  expect(readFileSync(join(output, "a/b/text"), "utf8")).toBe("hello");
  expect(statSync(join(output, "a/b/text")).mode & 0o777).toBe(0o640);
  expect(statSync(join(output, "a/empty")).size).toBe(0);
  expect(readFileSync(join(output, "bin/program"))).toEqual(readFileSync(program));
  expect(statSync(join(output, "bin/program")).mode & 0o777).toBe(0o755);
});
