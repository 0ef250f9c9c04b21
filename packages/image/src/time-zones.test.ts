import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openWorkshop, unpack } from "./test-workshop.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());

const ZONES = "/usr/share/zoneinfo";

test("a program that reads the time zones itself has those of the host", async () => {
  const source = `#include <dirent.h>\nint main(void){return opendir("${ZONES}")==0;}\n`;
  const program = workshop.compile("reader", source, "gcc");
  const { image, decisions } = await workshop.build(program);
  const root = unpack(image);
  // A host without tzdata has none to give.
  expect(existsSync(join(root, ZONES, "Etc/UTC"))).toBe(existsSync(join(ZONES, "Etc/UTC")));
  expect(existsSync(join(root, ZONES, "right"))).toBe(false);
  expect(decisions.some(({ topic, why }) => topic === "time zones" && why.startsWith(program))).toBe(
    existsSync(ZONES),
  );
});

test("one that leaves them to its C library is without", async () => {
  const source = `#include <stdio.h>\n#include <time.h>\nint main(void){time_t t=0;return puts(ctime(&t))<0;}\n`;
  const program = workshop.compile("other", source, "gcc");
  const { image } = await workshop.build(program);
  expect(existsSync(join(unpack(image), ZONES))).toBe(false);
});
