import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { isDestination } from "./destination.ts";
import { violation } from "./json-schema.ts";
import { MANIFEST_SCHEMA } from "./manifest-schema.ts";
import { configText, parseConfig } from "./oci.ts";
import { openWorkshop } from "./test-workshop.ts";

const workshop = openWorkshop();
afterAll(() => workshop.remove());

test("the published schema is the one that images are checked against (vitest -u writes it)", async () => {
  const text = `${JSON.stringify(MANIFEST_SCHEMA, null, 2)}\n`;
  await expect(text).toMatchFileSnapshot("../../../docs/reference/image-manifest.schema.json");
});

test("what a build declares is in its manifest, and comes back from it", async () => {
  const program = workshop.compile("hello", "int main(void){return 0;}", "musl-gcc", "-static");
  const declared = {
    user: { uid: 1, gid: 2 },
    stopSignal: "SIGINT",
    health: { path: "/up", port: 80, intervalMs: 1000, timeoutMs: 100, failures: 2 },
    rights: { devices: ["network"], ports: [80], destinations: ["10.0.0.0/8:5432", "*.example.com"] },
  } as const;
  const { image } = await workshop.build(program, declared);
  expect(image).toMatchObject(declared);
  const text = configText(image);
  const { spore, config } = JSON.parse(text);
  expect(violation(spore, MANIFEST_SCHEMA)).toBe(null);
  expect(spore).toMatchObject(declared);
  expect(config).toMatchObject({ User: "1:2", StopSignal: "SIGINT", ExposedPorts: { "80/tcp": {} } });
  expect(parseConfig(text)).toEqual(JSON.parse(JSON.stringify(spore)));
  expect((await workshop.build(program)).image.digest).not.toBe(image.digest);
  expect(readFileSync(image.path, "utf8")).toContain("application/vnd.spore.image.v1");
});

describe("the schema checker", () => {
  test.each([
    [{ type: "integer", minimum: 1 }, 0, "the whole: is too small"],
    [{ type: "integer", multipleOf: 4 }, 6, "the whole: is not a multiple of 4"],
    [{ type: "object", required: ["a"] }, {}, "the whole: has no a"],
    [
      { type: "object", properties: {}, additionalProperties: false },
      { b: 1 },
      "the whole: has an unknown b",
    ],
    [{ type: "array", items: { type: "string" } }, ["", 1], "[1]: is not a text"],
    [{ properties: { a: { enum: ["x"] } }, type: "object" }, { a: "y" }, "a: is none of x"],
    [
      { anyOf: [{ type: "null" }, { type: "string", pattern: "^a" }] },
      "b",
      "the whole: is not of the form that is asked for",
    ],
    [{ type: "array", uniqueItems: true }, [1, 1], "the whole: says something twice"],
    [
      { type: "object", additionalProperties: { type: "string" } },
      { toString: 1 },
      "toString: is not a text",
    ],
  ] as const)("%j finds fault with %j", (schema, value, problem) => {
    expect(violation(value, schema)).toBe(problem);
  });

  test("no value makes it throw", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => void violation(value, MANIFEST_SCHEMA)));
  });
});

describe("destinations", () => {
  test.each([
    "10.0.0.1",
    "10.0.0.0/8:5432",
    "[fd00::/8]",
    "[::1]:80",
    "db.example.com:1",
    "*.example.com",
    "localhost",
  ])("%s", (text) => expect(isDestination(text)).toBe(true));

  test.each([
    "",
    ":80",
    "10.0.0.0/33",
    "10.0.0.1:0",
    "10.0.0.1:65536",
    "10.0.0",
    "a..b",
    "*",
    "*.",
    "*a.b",
    "::1",
  ])("%j is none", (text) => expect(isDestination(text)).toBe(false));

  test("the schema lets through whatever is one", () => {
    const { properties = {} } = MANIFEST_SCHEMA;
    const rule = properties["rights"]?.properties?.["destinations"] ?? {};
    const port = fc.integer({ min: 1, max: 65_535 });
    const place = fc.oneof(
      fc.ipV4(),
      fc.ipV6().map((ip) => `[${ip}]`),
      fc.domain(),
    );
    const all = fc.tuple(place, fc.option(port)).map(([to, at]) => (at === null ? to : `${to}:${at}`));
    fc.assert(
      fc.property(all, (text) => {
        if (isDestination(text)) expect(violation([text], rule)).toBe(null);
      }),
    );
  });
});
