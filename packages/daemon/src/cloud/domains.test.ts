import { expect, test } from "vitest";
import { testCloud } from "../test-cloud.ts";
import { testDriver } from "../test-driver.ts";
import { Domains } from "./domains.ts";

/** A cloud whose name server knows what is put into `records`. */
async function made() {
  const cloud = await testCloud(testDriver());
  const records = new Map<string, string[][]>();
  const lookup = async (name: string) => {
    const found = records.get(name);
    if (found === undefined) throw Object.assign(new Error("not found"), { code: "ENOTFOUND" });
    return found;
  };
  const grants = { fingerprint: (text: string) => `mark of ${text}` };
  const again = () => new Domains({ ...cloud, grants }, lookup);
  return { cloud, records, again, domains: again() };
}

/** What is thrown, in words. */
function refusal(work: () => unknown): string {
  try {
    work();
    return "";
  } catch (thrown) {
    return (thrown as Error).message;
  }
}

test("a domain has to be proved, by a record that only its owner can set", async () => {
  const { cloud, records, domains } = await made();
  await using _ = cloud;
  expect(refusal(() => domains.admit("www.example.com", "acme", false))).toContain("nothing shows that");
  await expect(domains.prove("example.com", "acme")).rejects.toMatchObject({
    code: "SPORE_FORBIDDEN",
    next: 'set a TXT record of _spore.example.com to "spore=mark of domain acme example.com", and say it again',
  });
  // Long records come in parts; others may stand beside.
  records.set("_spore.example.com", [["v=spf1"], ["spore=mark of ", "domain acme example.com"]]);
  await expect(domains.prove("example.com", "rival")).rejects.toMatchObject({ code: "SPORE_FORBIDDEN" });
  expect(await domains.prove("example.com", "acme")).toMatchObject({ tenant: "acme", how: "proved" });
  for (const name of ["example.com", "www.example.com/api", "*.example.com"]) {
    domains.admit(name, "acme", false);
    expect(refusal(() => domains.admit(name, "rival", true))).toContain("is taken");
  }
  expect(refusal(() => domains.admit("badexample.com", "acme", false))).toContain("nothing shows that");
  await expect(domains.prove("example.com", "rival")).rejects.toMatchObject({ code: "SPORE_CONFLICT" });
});

test("an operator gives domains, what is below one to another too; names of this machine are free", async () => {
  const { cloud, domains } = await made();
  await using _ = cloud;
  domains.grant("example.com", "acme");
  domains.grant("shop.example.com", "rival");
  domains.admit("a.shop.example.com", "rival", false);
  expect(refusal(() => domains.admit("a.shop.example.com", "acme", false))).toContain("is taken");
  domains.admit("www.example.org", "acme", true);
  domains.admit("www.example.org", "acme", false);
  domains.admit("anything.localhost", "acme", false);
  const names = (tenant: string | null) =>
    domains.list(tenant === null ? null : { tenant, project: null }, null, 10).map(({ name }) => name);
  expect(names("acme")).toEqual(["example.com", "www.example.org"]);
  expect(names(null)).toEqual(["example.com", "shop.example.com", "www.example.org"]);
});

test("what an app has is not taken away, and stays after an update; the rest can be removed", async () => {
  const { cloud, again } = await made();
  await using _ = cloud;
  cloud.app("site", {}, { domains: ["www.example.com/a", "*.example.org", "x.localhost"] });
  const domains = again();
  expect(domains.list(null, null, 10)).toMatchObject([
    { name: "example.org", tenant: "default", how: "granted" },
    { name: "www.example.com", tenant: "default", how: "granted" },
  ]);
  expect(refusal(() => domains.remove("example.org", null))).toContain("the app site has");
  domains.grant("example.net", "acme");
  expect(refusal(() => domains.remove("example.net", { tenant: "rival", project: null }))).toContain(
    "no domain",
  );
  domains.remove("example.net", { tenant: "acme", project: null });
  expect(domains.list(null, "example.org", 10)).toMatchObject([{ name: "www.example.com" }]);
});

test("a name server that does not answer is said", async () => {
  const { cloud } = await made();
  await using _ = cloud;
  const domains = new Domains({ ...cloud, grants: { fingerprint: () => "" } }, async () => {
    throw Object.assign(new Error("queryTxt ETIMEOUT"), { code: "ETIMEOUT" });
  });
  await expect(domains.prove("example.com", "acme")).rejects.toThrow(
    "cannot be looked up: queryTxt ETIMEOUT",
  );
});
