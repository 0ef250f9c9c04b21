import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { extract, sourceOf, temporaryFolder, writeToFile, writeToMemory } from "../test/images.ts";
import { ErofsError, type ErofsErrorReason, openImage, planImage, type TreeEntry } from "./index.ts";

const folder = temporaryFolder();
afterAll(folder.remove);
let made = 0;
const HUGE = 2 << 20;

/** Bytes that differ from place to place. */
function bytesOf(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[index] = state >>> 16;
  }
  return bytes;
}

function file(path: string, content: Uint8Array | string): TreeEntry {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return { type: "file", path, content: [bytes] };
}

/** path -> what lies there, from a folder on disk. */
function onDisk(root: string): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (path: string): void => {
    const real = join(root, path);
    const status = lstatSync(real);
    const mode = (status.mode & 0o7777).toString(8);
    if (status.isSymbolicLink()) {
      found.set(path, `link ${readlinkSync(real)}`);
    } else if (status.isDirectory()) {
      found.set(path, `directory ${mode}`);
      for (const name of readdirSync(real)) visit(join(path, name));
    } else {
      found.set(path, `file ${mode} ${createHash("sha256").update(readFileSync(real)).digest("hex")}`);
    }
  };
  visit("/");
  return found;
}

/** The same from an image, through our reader. */
function inImage(image: Uint8Array): Map<string, string> {
  const reader = openImage(sourceOf(image));
  const found = new Map<string, string>();
  for (const { path, stat } of reader.walk()) {
    const mode = stat.mode.toString(8);
    if (stat.type === "symlink") found.set(path, `link ${reader.readlink(path)}`);
    else if (stat.type === "directory") found.set(path, `directory ${mode}`);
    else {
      const digest = createHash("sha256").update(reader.read(path)).digest("hex");
      found.set(path, `file ${mode} ${digest}`);
    }
  }
  return found;
}

/** The same from the description. */
function described(entries: readonly TreeEntry[]): Map<string, string> {
  const found = new Map<string, string>([["/", "directory 755"]]);
  for (const entry of entries) {
    for (let end = entry.path.indexOf("/", 1); end > 0; end = entry.path.indexOf("/", end + 1)) {
      const parent = entry.path.slice(0, end);
      if (!found.has(parent)) found.set(parent, "directory 755");
    }
    if (entry.type === "symlink") found.set(entry.path, `link ${entry.target}`);
    else if (entry.type === "directory") {
      found.set(entry.path, `directory ${(entry.mode ?? 0o755).toString(8)}`);
    } else {
      const digest = createHash("sha256");
      for (const part of entry.content) {
        digest.update(part instanceof Uint8Array ? part : part.read(0, part.length));
      }
      found.set(entry.path, `file ${(entry.mode ?? 0o644).toString(8)} ${digest.digest("hex")}`);
    }
  }
  return found;
}

function sorted(map: Map<string, string>): [string, string][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Writes the tree, and holds Debian's extraction and our reader against the description. */
function roundTrip(entries: TreeEntry[]): { image: Uint8Array; path: string } {
  const plan = planImage(entries);
  const path = join(folder.path, `${++made}.erofs`);
  const out = join(folder.path, `${made}.out`);
  writeToFile(plan, path);
  const image = new Uint8Array(readFileSync(path));
  expect(image.length).toBe(plan.size);
  extract(path, out);
  const expected = sorted(described(entries));
  expect(sorted(onDisk(out))).toEqual(expected);
  expect(sorted(inImage(image))).toEqual(expected);
  return { image, path };
}

describe("what Debian's fsck.erofs extracts is what was put in", () => {
  test("an empty tree", () => {
    roundTrip([]);
  });

  test("files around block sizes, empty directories, modes", () => {
    const sizes = [0, 1, 31, 32, 4095, 4096, 4097, 8192, 100_000];
    roundTrip([
      ...sizes.map((size) => file(`/sizes/${size}`, bytesOf(size, size))),
      { type: "directory", path: "/empty" },
      { type: "directory", path: "/tmp", mode: 0o1777 },
      { type: "file", path: "/bin/tool", mode: 0o4755, content: [bytesOf(10), bytesOf(0), bytesOf(5000, 7)] },
      { type: "directory", path: "/bin", mode: 0o700 },
    ]);
  });

  test("10,000 files in one directory", () => {
    const entries = Array.from({ length: 10_000 }, (_, index) => file(`/many/file-${index}`, `${index}\n`));
    roundTrip(entries);
  });

  test("names at the limit, names before the dots, names beyond ASCII", () => {
    const long = (letter: string) => letter.repeat(255);
    const names = [
      "!first",
      "-a",
      "..b",
      ".c",
      "...",
      "/".replace("/", "0"),
      "ä",
      "日本",
      "😀",
      "\u{ffff}x",
      " ",
      "a b\n",
    ];
    roundTrip([
      ...["a", "b", "c", "z"].map((letter) => file(`/long/${long(letter)}`, letter)),
      // 16 names of 243 bytes fill a block to its last byte: nothing pads the last name.
      ...Array.from({ length: 48 }, (_, index) =>
        file(`/full/${String(index).padStart(2, "0")}${"n".repeat(242)}`, "x"),
      ),
      ...names.map((name) => file(`/names/${name}`, name)),
    ]);
  });

  test("directories whose blocks are full to the last byte", () => {
    // 16 entries of 12 + 244 bytes are 4096 bytes; the dots shift the rest by 27.
    for (const last of [200, 217, 218, 244, 255]) {
      const entries = Array.from({ length: 31 }, (_, index) =>
        file(`/d/${String(index).padStart(2, "0")}${"n".repeat(index === 15 ? last - 2 : 242)}`, "x"),
      );
      roundTrip(entries);
    }
  });

  test("short and long links", () => {
    roundTrip(
      [1, 10, 59, 60, 255, 3000, 4000, 4063, 4064, 4065, 4095].map((length) => ({
        type: "symlink",
        path: `/links/${length}`,
        target: "t".repeat(length),
      })),
    );
  });

  test("a deep tree", () => {
    const path = Array.from({ length: 60 }, (_, index) => `d${index}`).join("/");
    roundTrip([file(`/${path}/bottom`, "here")]);
  });

  test("a big file that is read on demand", () => {
    const content = bytesOf(9_000_001);
    const part = {
      length: content.length,
      read: (at: number, length: number) => content.subarray(at, at + length),
    };
    roundTrip([{ type: "file", path: "/big", content: [part] }, file("/small", "s")]);
  });

  test("larger owners than a compact inode holds", () => {
    const entries: TreeEntry[] = [
      { type: "file", path: "/owned", uid: 100_000, gid: 70_000, mode: 0o600, content: [bytesOf(5)] },
    ];
    const { image } = roundTrip(entries);
    expect(openImage(sourceOf(image)).stat("/owned")).toMatchObject({ uid: 100_000, gid: 70_000, size: 5 });
  });
});

describe("placement", () => {
  const residue = 0x345000;

  test("a placed file starts where it was asked to, and smaller files fill the gap", () => {
    const entries: TreeEntry[] = [
      {
        type: "file",
        path: "/usr/bin/program",
        mode: 0o755,
        content: [bytesOf(3_000_000)],
        placement: [{ offset: 0, length: 3_000_000, residue }],
      },
      file("/etc/a", bytesOf(100_000)),
      file("/etc/b", bytesOf(5_000_000)),
    ];
    const plan = planImage(entries);
    expect(plan.offsetOf("/usr/bin/program") % HUGE).toBe(residue % HUGE);
    expect(plan.offsetOf("/etc/a")).toBe(plan.metadataLength);
    expect(plan.offsetOf("/etc/b")).toBeGreaterThan(plan.offsetOf("/usr/bin/program"));
    const { path } = roundTrip(entries);
    const dump = execFileSync("dump.erofs", ["--path=/usr/bin/program", "-e", path], { encoding: "utf8" });
    expect(dump).toContain(String(plan.offsetOf("/usr/bin/program")));
    expect(dump).toContain("Layout: 0 ");
  });

  test("segments with different distances lie apart, and the file still reads as one", () => {
    const content = bytesOf(2_500_123);
    const placement = [
      { offset: 0, length: 0x1234, residue: 0 },
      { offset: 0x1234, length: 0x12_0000, residue: 0x1000 + 0x1234 },
      { offset: 0x20_0000, length: 0x100, residue: 0x5000 },
    ];
    const entries: TreeEntry[] = [
      { type: "file", path: "/program", content: [content], placement },
      file("/other", bytesOf(10_000)),
    ];
    const { image, path } = roundTrip(entries);
    const plan = planImage(entries);
    for (const { offset, length, residue: wanted } of placement) {
      const range = plan
        .rangesOf("/program")
        .find(
          (each) =>
            each.offset <= offset &&
            each.offset + each.length >= offset + length &&
            (each.imageOffset + offset - each.offset) % HUGE === wanted,
        );
      expect(range).toBeDefined();
      if (!range) continue;
      const at = range.imageOffset + offset - range.offset;
      expect(image.slice(at, at + length)).toEqual(content.slice(offset, offset + length));
    }
    expect(() => plan.offsetOf("/program")).toThrow(ErofsError);
    expect(execFileSync("dump.erofs", ["--path=/program", path], { encoding: "utf8" })).toContain(
      "Layout: 4 ",
    );
  });
});

describe("the image as a whole", () => {
  const entries: TreeEntry[] = [
    file("/b", bytesOf(5000)),
    { type: "symlink", path: "/a", target: "b" },
    file("/d/e/f", "text"),
    {
      type: "file",
      path: "/p",
      content: [bytesOf(9000)],
      placement: [{ offset: 0, length: 9000, residue: 0x7000 }],
    },
  ];

  test("the same tree gives the same bytes, in whatever order it is listed", () => {
    const once = writeToMemory(planImage(entries));
    expect(writeToMemory(planImage([...entries].reverse()))).toEqual(once);
    expect(writeToMemory(planImage(entries, { mtime: 1 }))).not.toEqual(once);
  });

  test("tables come first: nothing before metadataLength changes with file content", () => {
    const plan = planImage(entries);
    const other = entries.map((each) => (each.path === "/b" ? file("/b", bytesOf(5000, 99)) : each));
    const [a, b] = [writeToMemory(plan), writeToMemory(planImage(other))];
    expect(a.slice(0, plan.metadataLength)).toEqual(b.slice(0, plan.metadataLength));
    expect(a).not.toEqual(b);
    expect(plan.offsetOf("/b")).toBeGreaterThanOrEqual(plan.metadataLength);
    expect(a.slice(plan.offsetOf("/b"), plan.offsetOf("/b") + 5000)).toEqual(bytesOf(5000));
  });

  test("pieces are handed out in order, without gaps, at multiples of 2 MiB", () => {
    let next = 0;
    planImage([file("/big", bytesOf(5_000_000))]).write((offset, bytes) => {
      expect(offset).toBe(next);
      expect(offset % HUGE).toBe(0);
      next += bytes.length;
    });
    expect(next).toBeGreaterThan(5_000_000);
  });

  test("dump.erofs shows the superblock that was asked for", () => {
    const path = join(folder.path, "super.erofs");
    const uuid = Uint8Array.from({ length: 16 }, (_, index) => index + 1);
    writeToFile(planImage(entries, { mtime: 1_700_000_000, uuid, volumeName: "layer" }), path);
    const text = execFileSync("dump.erofs", ["-s", path], { encoding: "utf8" });
    expect(text).toContain("sb_csum");
    expect(text).toContain("01020304-0506-0708-090a-0b0c0d0e0f10");
    expect(text).toMatch(/inode count: +7\n/);
  });

  test("directories count their links, files have the given owner and time", () => {
    const reader = openImage(sourceOf(writeToMemory(planImage(entries, { mtime: 77, uid: 5, gid: 6 }))));
    expect(reader.stat("/")).toMatchObject({ type: "directory", links: 3, mode: 0o755 });
    expect(reader.stat("/b")).toEqual({
      type: "file",
      mode: 0o644,
      uid: 5,
      gid: 6,
      size: 5000,
      links: 1,
      mtime: 77,
    });
    expect(reader.list("/")).toEqual(["a", "b", "d", "p"]);
    expect(reader.read("/b", 4090, 20)).toEqual(bytesOf(5000).slice(4090, 4110));
    expect(reader.read("/b", 4990, 20)).toEqual(bytesOf(5000).slice(4990));
    expect(reader.read("/b", 6000)).toHaveLength(0);
  });
});

describe("images of mkfs.erofs", () => {
  test.each([
    [[]],
    [["--chunksize=4096"]],
    [["--chunksize=65536"]],
    [["-Enosbcrc"]],
    [["-Eforce-inode-extended"]],
  ])("are read with options %j", (options) => {
    const root = join(folder.path, `tree-${++made}`);
    mkdirSync(join(root, "deep/er"), { recursive: true });
    for (let index = 0; index < 500; index++)
      writeFileSync(join(root, "deep", `f${index}`), bytesOf(index * 40, index));
    writeFileSync(join(root, "sparse"), bytesOf(10));
    truncateSync(join(root, "sparse"), 1_000_000);
    symlinkSync("deep/f7", join(root, "link"));
    const path = join(folder.path, `${made}.mkfs`);
    execFileSync("mkfs.erofs", ["-x-1", ...options, path, root], { stdio: "pipe" });
    expect(sorted(inImage(new Uint8Array(readFileSync(path))))).toEqual(sorted(onDisk(root)));
  });
});

describe("what is refused", () => {
  const reasonOf = (action: () => unknown): ErofsErrorReason | "none" => {
    try {
      action();
      return "none";
    } catch (error) {
      if (error instanceof ErofsError) return error.reason;
      throw error;
    }
  };

  const trees: [string, TreeEntry[]][] = [
    ["a relative path", [file("a", "")]],
    ["a path with dots", [file("/a/../b", "")]],
    ["a trailing slash", [{ type: "directory", path: "/a/" }]],
    ["a zero byte", [file("/a\0b", "")]],
    ["half a surrogate pair", [file("/\ud800", "")]],
    ["a name of 256 bytes", [file(`/${"n".repeat(256)}`, "")]],
    ["a path listed twice", [file("/a", ""), file("/a", "")]],
    ["a file as a directory", [file("/a", ""), file("/a/b", "")]],
    ["a file as the root", [file("/", "")]],
    ["an empty link", [{ type: "symlink", path: "/l", target: "" }]],
    ["a link of 4096 bytes", [{ type: "symlink", path: "/l", target: "t".repeat(4096) }]],
    ["an impossible mode", [{ type: "directory", path: "/d", mode: 0o10000 }]],
    [
      "a placement outside the file",
      [
        {
          type: "file",
          path: "/f",
          content: [bytesOf(10)],
          placement: [{ offset: 0, length: 11, residue: 0 }],
        },
      ],
    ],
    [
      "a placement that splits pages",
      [
        {
          type: "file",
          path: "/f",
          content: [bytesOf(10)],
          placement: [{ offset: 0, length: 10, residue: 5 }],
        },
      ],
    ],
  ];
  test.each(trees)("%s", (_name, tree) => {
    expect(reasonOf(() => planImage(tree))).toBe("bad-input");
  });

  test("a file that shrinks while it is read", () => {
    const shrunk = { length: 10, read: () => new Uint8Array(9) };
    const plan = planImage([{ type: "file", path: "/f", content: [shrunk] }]);
    expect(reasonOf(() => writeToMemory(plan))).toBe("bad-input");
  });

  const image = writeToMemory(
    planImage([
      ...Array.from({ length: 400 }, (_, index) => file(`/etc/file-${index}`, `${index}`)),
      { type: "symlink", path: "/link", target: "x".repeat(300) },
      { type: "symlink", path: "/long", target: "x".repeat(4090) },
      {
        type: "file",
        path: "/chunked",
        content: [bytesOf(20_000)],
        placement: [{ offset: 4096, length: 9000, residue: 0x3000 }],
      },
    ]),
  );
  const readAll = (bytes: Uint8Array) => inImage(bytes);

  test("no image, half an image, a path that is not there or of another kind", () => {
    expect(reasonOf(() => openImage(sourceOf(new Uint8Array(10))))).toBe("not-erofs");
    expect(reasonOf(() => openImage(sourceOf(new Uint8Array(8192))))).toBe("not-erofs");
    expect(reasonOf(() => openImage(sourceOf(image.slice(0, 8192))))).toBe("damaged");
    const reader = openImage(sourceOf(image));
    expect(reasonOf(() => reader.stat("/none/such"))).toBe("not-found");
    expect(reasonOf(() => reader.stat("/link/such"))).toBe("not-found");
    expect(reasonOf(() => reader.list("/link"))).toBe("wrong-kind");
    expect(reasonOf(() => reader.read("/etc"))).toBe("wrong-kind");
    expect(reasonOf(() => reader.readlink("/etc/file-1"))).toBe("wrong-kind");
  });

  test("any flipped byte of the superblock's block", () => {
    for (let at = 1024; at < 4096; at++) {
      const block = image.slice(0, 4096);
      block[at] = (block[at] ?? 0) ^ 0x40;
      const source = { size: image.length, read: () => block };
      expect(reasonOf(() => openImage(source))).not.toBe("none");
    }
  });

  test("flipped bytes in the tables raise ErofsError or nothing, and never loop", () => {
    // Behind block 0, which has a checksum.
    const tables = planImage([]).metadataLength;
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }), (flips) => {
        const copy = image.slice();
        for (const [at, value] of flips) copy[tables + (at % 30_000)] = value;
        reasonOf(() => readAll(copy));
      }),
      { numRuns: 400 },
    );
  });
});
