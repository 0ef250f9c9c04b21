import { join } from "node:path";
import { type Calls, routes } from "@spore/api";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cloud, cloud, freePort } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

let spore: Cloud;
let url: string;
let stranger: string;
/** What is the first tenant's, by the names that paths have for it. */
let theirs: Readonly<Record<string, string>>;
beforeAll(async () => {
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  spore = await cloud(["--api", `127.0.0.1:${port}`]);
  const { id } = await spore.json<{ id: string }>([
    "deploy",
    "--name",
    "hello",
    join(root, "examples/hello"),
  ]);
  await spore.json(["flag", "hello", "flag", "--on"]);
  await spore.json(["tenant", "acme"]);
  const made = ["token", "--create", "theirs", "--role", "admin", "--tenant", "acme"];
  stranger = (await spore.json<{ secret: string }>(made)).secret;
  const own = await spore.json<{ id: string }>(["token", "--create", "own", "--role", "viewer"]);
  const { release } = await spore.json<{ release: { image: string } }>(["inspect", "hello"]);
  const { instances } = await spore.json<{ instances: { id: string }[] }>(["ps", "hello"]);
  theirs = {
    app: "hello",
    release: "1",
    key: "flag",
    digest: release.image,
    "getDeployment.id": id,
    "getInstance.id": instances[0]?.id ?? "",
    "stopInstance.id": instances[0]?.id ?? "",
    "deleteToken.id": own.id,
    "getCrash.id": instances[0]?.id ?? "",
  };
});
afterAll(async () => {
  await spore[Symbol.asyncDispose]();
});

const bodies: Partial<Record<keyof Calls, () => object>> = {
  deploy: () => ({ image: theirs["digest"] }),
  missingBlobs: () => ({ digests: [theirs["digest"]] }),
  putFlag: () => ({ enabled: true, variants: { on: true }, variant: "on" }),
  changeSecrets: () => ({ set: { STOLEN: "x" } }),
};

async function ask(name: keyof Calls): Promise<{ status: number; text: string }> {
  const { method, path, body } = routes[name];
  const filled = path.replace(
    /\{(\w+)\}/g,
    (_, key: string) => theirs[`${name}.${key}`] ?? theirs[key] ?? "x",
  );
  const answer = await fetch(`${url}${filled}`, {
    method,
    headers: {
      authorization: `Bearer ${stranger}`,
      ...(body !== null && { "content-type": "application/json" }),
    },
    ...(body !== null && { body: JSON.stringify(bodies[name]?.() ?? {}) }),
  });
  return { status: answer.status, text: await answer.text() };
}

describe("a token of another project of the same tenant", () => {
  test("finds nothing of it, deploys into its own alone, and makes tokens for no other", async () => {
    await spore.json(["project", "shop"]);
    const made = ["token", "--create", "shop", "--role", "admin", "--project", "shop"];
    const { secret } = await spore.json<{ secret: string }>(made);
    const env = { SPORE_URL: url, SPORE_TOKEN: secret };
    const run = async (...words: string[]) => {
      const { status, stdout, stderr } = await spore.spore([...words, "--json"], { env });
      return { status, said: status === 0 ? (JSON.parse(stdout) as unknown) : stderr };
    };
    expect(await run("ps")).toEqual({ status: 0, said: { apps: [], instances: [] } });
    expect((await run("inspect", "hello")).said).toContain("there is no app hello");
    expect((await run("deploy", "--name", "hello", join(root, "examples/hello"))).said).toContain("taken");
    const elsewhere = ["deploy", "--name", "store", "--project", "default", join(root, "examples/hello")];
    expect((await run(...elsewhere)).said).toContain("SPORE_FORBIDDEN");
    expect((await run("token", "--create", "a", "--project", "default")).said).toContain("SPORE_FORBIDDEN");
    expect((await run("project", "other")).said).toContain("SPORE_FORBIDDEN");
    expect(await run("token", "--create", "b")).toMatchObject({ said: { project: "shop" } });
    expect((await run("deploy", "--name", "store", join(root, "examples/hello"))).status).toBe(0);
    const { said } = await run("ps");
    expect(said).toMatchObject({ apps: [{ name: "store", project: "shop" }] });
    const events = await spore.spore(["events"], { env });
    expect(events.stdout).toContain("release.live store");
    expect(events.stdout).not.toContain("hello");
    expect((await spore.spore(["project", "shop", "--remove", "--yes"])).stderr).toContain("has apps");
    await spore.json(["rm", "--yes", "store"]);
    await spore.json(["project", "shop", "--remove", "--yes"]);
    expect((await run("ps")).said).toContain("SPORE_UNAUTHENTICATED");
  });
});

describe("a stranger with all rights in a tenant of its own", () => {
  const about = (Object.keys(routes) as (keyof Calls)[]).filter((name) =>
    /\{(app|id)\}/.test(routes[name].path),
  );

  test.each(about)("does not find what is another's by %s", async (name) => {
    const { status, text } = await ask(name);
    expect({ status, text }).toMatchObject({ status: 404 });
  });

  test.each(["listApps", "listInstances", "listEvents"] as const)(
    "sees nothing of it in %s",
    async (name) => {
      const { status, text } = await ask(name);
      expect(status).toBe(200);
      expect(text).not.toContain("hello");
    },
  );

  test("sees none of its numbers, addresses and tokens", async () => {
    expect(JSON.parse((await ask("status")).text)).toMatchObject({
      apps: 0,
      instances: 0,
      pid: null,
      home: null,
    });
    expect((await ask("getMetrics")).text).not.toContain("hello");
    expect((await ask("listTokens")).text).not.toContain('"own"');
    expect((await ask("listTenants")).status).toBe(403);
  });

  test("has nothing of an image by knowing its digest, nor learns that it is there", async () => {
    expect(JSON.parse((await ask("missingBlobs")).text)).toEqual({ missing: [theirs["digest"]] });
    for (const name of ["putImage", "deploy"] as const) {
      const { status, text } = await ask(name);
      expect({ status, text }).toEqual({
        status: 404,
        text: expect.stringContaining(`there is no image ${theirs["digest"]}`),
      });
    }
  });

  test("does not get its name, nor paths below it", async () => {
    const env = { SPORE_URL: url, SPORE_TOKEN: stranger };
    const taken = await spore.spore(["deploy", "--name", "hello", join(root, "examples/hello")], { env });
    expect(taken.stderr).toContain("the name hello is taken");
    const below = [
      "deploy",
      "--name",
      "other",
      "--domain",
      "hello.localhost/api",
      join(root, "examples/hello"),
    ];
    expect((await spore.spore(below, { env })).stderr).toContain("SPORE_CONFLICT");
  });

  test("gets no domain that it has not proved, and no port that it was not given", async () => {
    const env = { SPORE_URL: url, SPORE_TOKEN: stranger };
    const other = async (...words: string[]) =>
      (await spore.spore(["deploy", "--name", "other", ...words, join(root, "examples/hello")], { env }))
        .stderr;
    expect(await other("--domain", "www.example.com")).toMatch(
      /SPORE_FORBIDDEN.*spore domain www\.example\.com/,
    );
    expect(await other("--tcp", "16379")).toMatch(/SPORE_FORBIDDEN.*spore tenant acme --ports 16379/);
    expect((await spore.spore(["domain", "example.com", "--tenant", "default"], { env })).stderr).toContain(
      "SPORE_FORBIDDEN",
    );
    await spore.json(["domain", "example.com", "--tenant", "acme"]);
    expect((await spore.spore(["ps", "other"], { env })).stderr).toContain("there is no app other");
    expect(await other("--domain", "www.example.com")).toContain("other release 1 is live");
    await spore.spore(["rm", "--yes", "other"], { env });
  });

  test("and what it tried has changed nothing", async () => {
    expect(await spore.get("hello")).toMatchObject({ status: 200, text: "Hello from Spore\n" });
    expect(await spore.json(["inspect", "hello"])).toMatchObject({ app: { live: 1 }, secrets: [] });
  });
});
