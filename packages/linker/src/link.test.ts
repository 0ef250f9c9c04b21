import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ElfError } from "@spore/elf";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Archives, openArchives } from "../test/archives.ts";
import { keptByBoth } from "../test/reference.ts";
import { choose, type Wishes } from "./choose.ts";
import { LinkError } from "./error.ts";
import { type LinkedKernel, link } from "./link.ts";
import { parse } from "./parse.ts";
import { type Choice, everything } from "./select.ts";

const WINDOW = { address: 0x7f80_0020_0000, length: 4 << 20 };
/** A Linux program can stand here, and be run. */
const LOW = { address: 0x40_0000, length: 4 << 20 };

let archives: Archives;
let archive: string;
beforeAll(() => {
  archives = openArchives();
  archive = archives.make("kernel");
});
afterAll(() => archives.remove());

function linkFile(path: string, choice: Choice, window = WINDOW): LinkedKernel {
  return link(parse(archives.read(path)), choice, window);
}

/** Runs a kernel that is a program; answers its exit status. */
function run(name: string, { elf }: LinkedKernel): number | null {
  const path = join(archives.folder, name);
  writeFileSync(path, elf);
  chmodSync(path, 0o755);
  return spawnSync(path).status;
}

/** The reason of the LinkError that a link ends with. */
function reasonOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof LinkError) return error.reason;
    throw error;
  }
  return "linked";
}

describe("what is linked", () => {
  test("runs: services started in order, calls through the table, constants, data and zeros in place", () => {
    expect(run("both", linkFile(archive, { calls: ["seventh"], services: [] }, LOW))).toBe(40 + 2);
    expect(run("all", linkFile(archive, { calls: ["seventh"], services: ["moat"] }, LOW))).toBe(
      (40 + 1000) % 256,
    );
  });

  test("answers ENOSYS for a call below the highest that was left out", () => {
    expect(run("missing", linkFile(archive, { calls: ["eighth"], services: [] }, LOW))).toBe(38);
  });

  test("names in a text what was left out", () => {
    const text = Buffer.from(linkFile(archive, { calls: ["eighth"], services: [] }).image).toString("latin1");
    expect(text).toContain("7 seventh\n");
    expect(text).not.toContain("8 eighth\n");
  });

  test("is the same, byte for byte, whatever the order of the choice", () => {
    const one = linkFile(archive, { calls: ["seventh", "eighth"], services: ["moat", "ground"] });
    const two = linkFile(archive, { calls: ["eighth", "seventh"], services: ["ground", "tower", "moat"] });
    expect(Buffer.compare(one.elf, two.elf)).toBe(0);
  });

  test("is read by readelf and objdump without complaint", () => {
    const path = join(archives.folder, "read");
    writeFileSync(path, linkFile(archive, everything(parse(archives.read(archive)).catalogue)).elf);
    for (const command of [["readelf", "-aW"], ["objdump", "-dxrs"], ["nm"]] as const) {
      const result = spawnSync(command[0], [...command.slice(1), path], { encoding: "utf8" });
      expect([command[0], result.status, result.stderr]).toEqual([command[0], 0, ""]);
    }
    expect(execFileSync("nm", [path], { encoding: "utf8" })).toMatch(/^[0-9a-f]{16} T deep$/m);
  });

  test("reports for each piece what it adds to those before it", () => {
    const { pieces } = linkFile(archive, { calls: ["seventh"], services: [] });
    expect(pieces.map(({ name, kind }) => `${kind} ${name}`)).toEqual([
      "core core",
      "service ground",
      "service tower",
      "call seventh",
    ]);
    const parts = new Map(pieces.map(({ name, parts }) => [name, parts.map((part) => part.name)]));
    expect(parts.get("ground")).toContain("height");
    expect(parts.get("seventh")).toEqual(expect.arrayContaining(["deep", "deeper"]));
    expect(pieces.flatMap(({ parts: all }) => all).map(({ name }) => name)).not.toContain("never");
  });
});

describe("a choice by name", () => {
  const TEXT =
    "ground needs for\\ntower needs ground water for\\nmoat needs for\\nwater needs moat groups seventh eighth\\n";
  const NOTHING: Wishes = { everything: false, calls: [], services: [], pieces: [], without: [], back: [] };
  const chosen = (name: string, wishes: Partial<Wishes>): readonly (readonly string[])[] => {
    const { catalogue } = parse(archives.read(archives.make(name, {}, TEXT)));
    const { calls, services } = choose(catalogue, { ...NOTHING, ...wishes });
    return [calls, services];
  };

  test("a feature is there whole, with what it needs, whoever asks for a part of it", () => {
    const whole = [["seventh", "eighth"], ["moat"]];
    expect(chosen("by-call", { calls: ["eighth"] })).toEqual(whole);
    expect(chosen("by-name", { pieces: ["water"] })).toEqual(whole);
    expect(chosen("by-need", { services: ["tower"] })).toEqual([whole[0], ["ground", "tower", "moat"]]);
    expect(chosen("by-none", {})).toEqual([[], []]);
  });

  test("what is left out takes along what cannot work without it", () => {
    const everything = true;
    expect(chosen("no-moat", { everything, without: ["moat"] })).toEqual([[], ["ground"]]);
    expect(chosen("no-eighth", { everything, without: ["eighth"] })).toEqual([
      ["seventh"],
      ["ground", "tower", "moat"],
    ]);
    expect(chosen("back", { everything, without: ["moat"], back: ["tower"] })).toEqual(
      chosen("all", { everything }),
    );
    expect(reasonOf(() => chosen("both", { pieces: ["tower"], without: ["moat"] }))).toBe("piece-conflict");
  });

  test("a name that means nothing is refused, of a file as well", () => {
    for (const piece of ["cellar", "cellar/*"]) {
      expect([piece, reasonOf(() => chosen("none", { pieces: [piece] }))]).toEqual([piece, "unknown-piece"]);
      expect([piece, reasonOf(() => chosen("none", { without: [piece] }))]).toEqual([piece, "unknown-piece"]);
    }
  });
});

test.each<Choice>([
  { calls: [], services: [] },
  { calls: ["seventh"], services: [] },
  { calls: ["eighth"], services: ["moat"] },
  { calls: ["seventh", "eighth"], services: ["moat"] },
])("what is kept is what ld --gc-sections keeps with the same roots: %j", (choice) => {
  const { ours, reference } = keptByBoth(archive, choice, join(archives.folder, "reference"));
  expect([...ours].sort()).toEqual([...reference].sort());
});

describe("what cannot be linked ends with a reason", () => {
  const all: Choice = { calls: ["seventh"], services: [] };
  const withMember = (name: string, source: string, catalogue?: string): string =>
    archives.make(name, { more: source }, catalogue);

  test("a symbol that is kept and not defined; one that is not kept does not matter", () => {
    const lacking = withMember(
      "lacking",
      'extern int nowhere(void); int broken(void) { return nowhere(); } int ninth(void) __asm__("spore.call.9.ninth"); int ninth(void) { return 9; }',
    );
    expect(reasonOf(() => linkFile(lacking, { calls: ["ninth"], services: [] }))).toBe("linked");
    const needed = withMember(
      "needed",
      'extern int nowhere(void); int ninth(void) __asm__("spore.call.9.ninth"); int ninth(void) { return nowhere(); }',
    );
    expect(reasonOf(() => linkFile(needed, { calls: ["ninth"], services: [] }))).toBe("missing-symbol");
  });

  test("a symbol that is defined twice", () => {
    const twice = withMember(
      "twice",
      'int deep(int x) { return x; } int ninth(void) __asm__("spore.call.9.ninth"); int ninth(void) { return 9; }',
    );
    expect(reasonOf(() => linkFile(twice, { calls: ["seventh", "ninth"], services: [] }))).toBe(
      "duplicate-symbol",
    );
  });

  test("an address that does not fit its field", () => {
    const narrow = withMember(
      "narrow",
      `.section .text.ninth,"ax",@progbits\n.globl spore.call.9.ninth\nspore.call.9.ninth: mov $spore.call.9.ninth, %eax\nret\n`,
    );
    expect(reasonOf(() => linkFile(narrow, { calls: ["ninth"], services: [] }))).toBe("relocation-overflow");
    expect(reasonOf(() => linkFile(narrow, { calls: ["ninth"], services: [] }, LOW))).toBe("linked");
  });

  test("services that need each other, a piece that nobody offers, a window that is too small", () => {
    const circle = archives.make(
      "circle",
      {},
      "ground needs moat for\\ntower needs ground for\\nmoat needs tower for\\n",
    );
    expect(reasonOf(() => linkFile(circle, { calls: [], services: ["tower"] }))).toBe("needs-cycle");
    expect(reasonOf(() => linkFile(archive, { calls: ["tenth"], services: [] }))).toBe("unknown-piece");
    expect(reasonOf(() => linkFile(archive, { calls: [], services: ["cellar"] }))).toBe("unknown-piece");
    expect(reasonOf(() => linkFile(archive, all, { ...WINDOW, length: 4096 }))).toBe("too-large");
  });

  test("a catalogue that groups or offers what is not there", () => {
    const described = "ground needs for\\ntower needs ground for\\n";
    const withText = (name: string, text: string): string => archives.make(name, {}, text);
    const refused = {
      "unknown-call": "water needs groups ninth",
      "unknown-need": "water needs bridge groups seventh",
      "unknown-listed": "water lists ninth",
      "no-needs": "water groups seventh",
    };
    for (const [name, line] of Object.entries(refused)) {
      const path = withText(name, `${described}moat needs for\\n${line}\\n`);
      expect([name, reasonOf(() => linkFile(path, all))]).toEqual([name, "bad-catalogue"]);
    }
    // A service with a symbol that is neither described nor part of one that is.
    expect(reasonOf(() => linkFile(withText("stray", described), all))).toBe("bad-catalogue");
  });

  test("a service that is part of another needs it", () => {
    const symbol = '"spore.service.moat/gate"';
    const member = `    .section .text.gate,"ax",@progbits\n    .globl ${symbol}\n${symbol}: ret\n`;
    const path = archives.make("parts", { gate: member });
    const { catalogue } = parse(archives.read(path));
    expect(catalogue.services.at(-1)).toEqual({
      name: "moat/gate",
      symbol: "spore.service.moat/gate",
      needs: ["moat"],
      calls: [],
    });
    const { pieces } = linkFile(path, { calls: ["seventh"], services: ["moat/gate"] });
    expect(pieces.map(({ name }) => name)).toEqual([
      "core",
      "ground",
      "tower",
      "moat",
      "moat/gate",
      "seventh",
    ]);
  });

  test("an archive that is no kernel", () => {
    const path = join(archives.folder, "other.a");
    execFileSync("ar", ["rcsD", path, join(archives.folder, "kernel-deep.o")]);
    expect(reasonOf(() => linkFile(path, all))).toBe("bad-catalogue");
  });

  test("a damaged archive: always a LinkError or an ElfError, never another", () => {
    const whole = archives.read(archive);
    const change = fc.record({ at: fc.nat(whole.length - 1), value: fc.nat(255) });
    fc.assert(
      fc.property(
        fc.array(change, { minLength: 1, maxLength: 8 }),
        fc.option(fc.nat(whole.length)),
        (changes, cut) => {
          const damaged = whole.slice(0, cut ?? whole.length);
          for (const { at, value } of changes) if (at < damaged.length) damaged[at] = value;
          try {
            const input = parse(damaged);
            link(input, everything(input.catalogue), WINDOW);
          } catch (error) {
            if (!(error instanceof LinkError || error instanceof ElfError)) throw error;
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
