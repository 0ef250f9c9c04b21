import { describe, expect, test } from "vitest";
import { openApi } from "./openapi.ts";
import { permits, roles } from "./route.ts";
import { routes } from "./routes.ts";
import { appName } from "./schemas.ts";

test("docs/reference/openapi.json is what the routes say (vitest -u writes it)", async () => {
  await expect(`${JSON.stringify(openApi("0.1.0"), null, 2)}\n`).toMatchFileSnapshot(
    "../../../docs/reference/openapi.json",
  );
});

describe("routes", () => {
  test("no two have the same method and path", () => {
    const seen = Object.values(routes).map(({ method, path }) => `${method} ${path}`);
    expect(new Set(seen).size).toBe(seen.length);
  });

  test.each(Object.entries(routes))("%s names its parameters in its path", (_, route) => {
    const named = [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    const given = route.params.safeParse({});
    const missing = given.success ? [] : given.error.issues.map(({ path }) => String(path[0]));
    expect(missing.sort()).toEqual(named.sort());
  });

  test("what changes something is not for viewers, but for evaluating flags", () => {
    const free = Object.entries(routes)
      .filter(([, { method, role }]) => method !== "GET" && role === "viewer")
      .map(([name]) => name);
    expect(free).toEqual(["evaluateFlag", "evaluateFlags"]);
  });
});

test("a role may do what the lesser ones may", () => {
  expect(roles.map((role) => permits(role, "deployer"))).toEqual([false, true, true, true]);
  expect(permits("viewer", null)).toBe(true);
});

test.each([
  ["hello", true],
  ["a", true],
  ["my-app2", true],
  ["r12", false],
  ["r12a", true],
  ["Hello", false],
  ["-a", false],
  ["a-", false],
  ["1a", false],
  ["a.b", false],
  ["", false],
  ["a".repeat(43), false],
])("the name %j may be used: %s", (name, allowed) => {
  expect(appName.safeParse(name).success).toBe(allowed);
});
