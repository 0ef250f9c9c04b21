// An image is an OCI image layout: Debian's skopeo, which knows nothing of Spore, copies it and looks into it.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { compile, folder } from "../support/programs.ts";
import { root, runTarget, spore } from "../support/spore.ts";

const place = folder();
const hello = compile(place, "hello.c", "gcc");
const image = join(place, "hello.spore");

function skopeo(...words: string[]): string {
  return execFileSync("skopeo", ["--insecure-policy", ...words], { encoding: "utf8", cwd: place });
}

test("skopeo says what is in an image", async () => {
  const words = ["-e", "GREETING=hi", "-o", image, hello, "--", "@", "4"];
  expect(await spore(["build", ...words])).toMatchObject({ status: 0 });
  const seen = JSON.parse(skopeo("inspect", `oci-archive:${image}`));
  expect(seen).toMatchObject({ Architecture: "amd64", Os: "linux", Env: ["GREETING=hi"] });
  const manifest = JSON.parse(skopeo("inspect", "--raw", `oci-archive:${image}`));
  expect(manifest.artifactType).toBe("application/vnd.spore.image.v1");
  expect(seen.Layers).toEqual(manifest.layers.map((layer: { digest: string }) => layer.digest));
  const config = JSON.parse(skopeo("inspect", "--config", "--raw", `oci-archive:${image}`));
  expect(config.config).toMatchObject({ Entrypoint: [hello], Cmd: ["@", "4"], StopSignal: "SIGTERM" });
});

test.each([
  ["a directory", `oci:copied`, "copied"],
  ["an archive", `oci-archive:copied.tar`, "copied.tar"],
])("what skopeo copies to %s is the same image, and runs", async (_what, to, path) => {
  skopeo("copy", "--quiet", `oci-archive:${image}`, to);
  const digest = (from: string): string => JSON.parse(skopeo("inspect", from)).Digest;
  expect(digest(to)).toBe(digest(`oci-archive:${image}`));
  const env = { SPORE_HOME: join(place, "elsewhere") };
  const { stdout, status } = await runTarget([join(place, path)], { env });
  expect(stdout).toContain("hello [@] [4]\n");
  expect(stdout).toContain("GREETING=hi\n");
  expect(status).toBe(4);
  rmSync(env.SPORE_HOME, { recursive: true, force: true });
});

test("through every kind of copy, the bytes of every blob stay", async () => {
  skopeo("copy", "--quiet", `oci-archive:${image}`, "dir:plain");
  skopeo("copy", "--quiet", "dir:plain", "oci:again");
  mkdirSync(join(place, "unpacked"));
  execFileSync("tar", ["-xf", image, "-C", join(place, "unpacked")]);
  const blobs = join("blobs", "sha256");
  const names = readdirSync(join(place, "unpacked", blobs));
  expect(readdirSync(join(place, "again", blobs))).toEqual(names);
  for (const name of names) {
    for (const copy of ["unpacked", "again"]) {
      const bytes = readFileSync(join(place, copy, blobs, name));
      expect(createHash("sha256").update(bytes).digest("hex")).toBe(name);
    }
  }
});

test("a directory: the same image, of which a build after a change writes what has changed", async () => {
  const layout = join(place, "layout");
  const words = ["build", "-o", `${layout}/`, hello, "--"];
  expect(await spore([...words, "@", "1"])).toMatchObject({ stderr: "", status: 0 });
  const file = join(place, "same.spore");
  expect(await spore(["build", "-o", file, hello, "--", "@", "1"])).toMatchObject({ status: 0 });
  const digest = (from: string): string => JSON.parse(skopeo("inspect", from)).Digest;
  expect(digest("oci:layout")).toBe(digest("oci-archive:same.spore"));
  const blobs = join(layout, "blobs/sha256");
  const before = readdirSync(blobs).map((name) => [name, statSync(join(blobs, name)).ino] as const);

  expect(await spore([...words, "@", "2"])).toMatchObject({ stderr: "", status: 0 });
  const after = new Map(readdirSync(blobs).map((name) => [name, statSync(join(blobs, name)).ino]));
  // Manifest and configuration are new, the old ones are gone; everything else stays where it is.
  expect(after.size).toBe(before.length);
  expect(before.filter(([name, inode]) => after.get(name) === inode)).toHaveLength(before.length - 2);
  expect(readdirSync(layout).sort()).toEqual(["blobs", "index.json", "oci-layout"]);
  const env = { SPORE_HOME: join(place, "elsewhere") };
  expect(await runTarget([layout], { env })).toMatchObject({ status: 2 });
  const other = await spore(["build", "-o", place, hello]);
  expect(other.stderr).toContain("error[SPORE_OUTPUT_WRITE]");
  expect(other.status).toBe(73);
});

test("a Node.js image's own part is its bundle and little more: all else is shared by digest", async () => {
  const project = join(place, "own");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), '{ "type": "module" }');
  writeFileSync(join(project, "server.js"), 'console.log("nothing but this");\n');
  interface Layout {
    readonly layers: readonly { readonly digest: string; readonly size: number }[];
    readonly config: { readonly size: number };
  }
  const manifestOf = async (target: string, name: string): Promise<Layout & { readonly size: number }> => {
    expect((await spore(["build", target, "-o", join(place, name)], { deadline: 240_000 })).status).toBe(0);
    const text = skopeo("inspect", "--raw", `oci-archive:${name}`);
    return { ...(JSON.parse(text) as Layout), size: text.length };
  };
  const other = await manifestOf(project, "own.spore");
  const hello = await manifestOf(join(root, "examples/hello"), "example.spore");
  const shared = new Set(other.layers.map(({ digest }) => digest));
  const own = hello.layers.filter(({ digest }) => !shared.has(digest));
  // Its layer, and nothing of the library OS.
  expect(own).toHaveLength(1);
  const listed = await spore(["image", "tree", "--json", join(place, "example.spore"), "/app"]);
  const files = JSON.parse(listed.stdout) as readonly { readonly type: string; readonly size: number }[];
  const bundle = files.filter(({ type }) => type === "file").reduce((sum, { size }) => sum + size, 0);
  const all = own.reduce((sum, { size }) => sum + size, hello.config.size + hello.size);
  expect(all - bundle).toBeLessThanOrEqual(64 << 10);
});
