import { expect, test } from "vitest";
import { testCloud } from "../test-cloud.ts";
import { testDriver } from "../test-driver.ts";
import { Urls } from "./urls.ts";

test("a path leads to the app that has it, the longest first, and to nobody by half a word", async () => {
  await using cloud = await testCloud(testDriver());
  cloud.app("site", {}, { domains: ["www.example.com", "*.example.org"] });
  cloud.app("api", {}, { domains: ["www.example.com/api", "site.localhost/api", "x.example.org/api"] });
  cloud.app("old", {}, { domains: ["www.example.com/api/v1"] });
  const urls = new Urls(cloud.store, "localhost");
  const found = (host: string, path: string): string | null => urls.find(host, path)?.app ?? null;
  expect(found("www.example.com", "/")).toBe("site");
  expect(found("www.example.com", "/apis")).toBe("site");
  expect(found("www.example.com", "/api")).toBe("api");
  expect(found("www.example.com", "/api?a=/api/v1")).toBe("api");
  expect(found("www.example.com", "/api/v2")).toBe("api");
  expect(found("www.example.com", "/api/v1/x")).toBe("old");
  expect(found("site.localhost", "/api/x")).toBe("api");
  expect(found("site.localhost", "/")).toBe("site");
  expect(found("x.example.org", "/api")).toBe("api");
  expect(found("x.example.org", "/")).toBe("site");
  expect(found("x.example.net", "/")).toBeNull();
});
