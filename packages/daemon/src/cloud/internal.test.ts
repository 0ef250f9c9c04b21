import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway } from "@spore/gateway";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type TestCloud, testCloud } from "../test-cloud.ts";
import { testDriver } from "../test-driver.ts";
import { Flags } from "./flags.ts";
import { Grants, InternalNetwork, internalAddress } from "./internal.ts";
import { InternalFlags } from "./internal-flags.ts";

let home: string;
let cloud: TestCloud;
let gateway: Gateway;
let grants: Grants;
let network: InternalNetwork;
let flags: Flags;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "spore-internal-"));
  cloud = await testCloud(testDriver({ answer: ({ app }) => ({ status: 200, text: `I am ${app}` }) }));
  for (const name of ["web", "api"]) cloud.app(name);
  cloud.app("foreign");
  const foreign = cloud.store.get("apps", "foreign");
  if (foreign !== null) cloud.store.put("apps", "foreign", { ...foreign, tenant: "others" });
  flags = new Flags(cloud.store, cloud.events);
  gateway = new Gateway({ router: cloud.router });
  grants = new Grants(home);
  network = new InternalNetwork({ ...cloud, gateway, flags: new InternalFlags(flags) }, grants);
  await network.listen();
});
afterEach(async () => {
  network.close();
  await gateway.close(0);
  await cloud[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
});

/** What comes back on a connection as a monitor makes it. */
function ask(
  token: string,
  app: string,
  port: number = 80,
  first: string = "GET / HTTP/1.1",
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(grants.socket);
    let got = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      got += text;
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(got));
    socket.write(`${token} ${internalAddress(app)} ${port}\n${first}\r\nhost: ${app}.internal\r\n`);
    socket.write("connection: close\r\n\r\n");
  });
}

const tokenOf = (app: string): string => grants.of(app)?.token ?? "";

test("a name has the address that monitors give it", () => {
  // monitor/src/net/internal.rs says the same.
  expect(internalAddress("hello")).toBe("247.159.44.190");
});

test("an app reaches another of its tenant, and itself", async () => {
  expect(await ask(tokenOf("web"), "api")).toMatch(/^HTTP\/1\.1 200 [\s\S]*I am api\r\n/);
  expect(await ask(tokenOf("web"), "web")).toMatch(/I am web\r\n/);
});

test("an app of another tenant is not there, and neither is one that nobody has", async () => {
  const refused = /^HTTP\/1\.1 404 [\s\S]*SPORE_NO_APP/;
  expect(await ask(tokenOf("web"), "foreign")).toMatch(refused);
  expect(await ask(tokenOf("foreign"), "web")).toMatch(refused);
  expect(await ask(tokenOf("web"), "nobody")).toMatch(refused);
});

test("who is not the app that it says gets no answer", async () => {
  const [, signature] = tokenOf("web").split(".");
  expect(await ask(`api.${signature}`, "api")).toBe("");
  expect(await ask(`web.${"A".repeat(43)}`, "api")).toBe("");
  expect(await ask("nonsense", "api")).toBe("");
  expect(await ask(`x${"y".repeat(500)}`, "api")).toBe("");
});

test("a service that does not speak HTTP is reached at its port as it is", async () => {
  cloud.app("db", {}, { tcp: 16_379 });
  cloud.events.tell("app.created", { tenant: "default", app: "db" });
  const said = await ask(tokenOf("web"), "db", 16_379);
  expect(said).toMatch(/I am db/);
  expect(said).not.toMatch(/x-spore-start/);
  expect(await ask(tokenOf("foreign"), "db", 16_379)).toBe("");
});

test("the daemon answers an app that asks for its own flags, and for no others", async () => {
  flags.put("web", "new", { enabled: true, variants: { on: true, off: false }, variant: "on" });
  flags.put("api", "secret", { enabled: true, variants: { on: true }, variant: "on" });
  const asked = (path: string) =>
    ask(tokenOf("web"), "spore", 80, `POST /ofrep/v1/evaluate/flags${path} HTTP/1.1`);
  expect(await asked("")).toMatch(
    /200 OK[\s\S]*\{"flags":\[\{"key":"new","reason":"STATIC","variant":"on","value":true\}\]\}/,
  );
  expect(await asked("/new")).toMatch(/200 OK[\s\S]*"value":true/);
  expect(await asked("/secret")).toMatch(/404 Not Found[\s\S]*"key":"secret","errorCode":"FLAG_NOT_FOUND"/);
  expect(await asked("/%2e%2e%2fapi%2fsecret")).toMatch(/404 Not Found/);
  expect(await asked("/%zz")).toMatch(/^HTTP\/1\.1 [45]\d\d/);
  expect(await ask(tokenOf("web"), "spore")).toMatch(/404 Not Found/);
});

test("one app has so many connections and no more, and gets its place back", async () => {
  const opened: Socket[] = [];
  const opens = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(grants.socket);
      opened.push(socket);
      socket.on("error", () => {});
      socket.on("close", () => resolve(false));
      socket.on("data", () => resolve(true));
      socket.write(
        `${tokenOf("web")} ${internalAddress("api")} 80\nGET / HTTP/1.1\r\nhost: api.internal\r\n\r\n`,
      );
    });
  const first = await Promise.all(Array.from({ length: 1000 }, opens));
  expect(first.every((open) => open)).toBe(true);
  expect(await opens()).toBe(false);
  expect(await ask(tokenOf("api"), "web")).toMatch(/I am web/);
  opened[0]?.destroy();
  await expect.poll(opens).toBe(true);
  for (const socket of opened) socket.destroy();
});

test("a port that the app does not have is closed", async () => {
  expect(await ask(tokenOf("web"), "api", 6379)).toBe("");
});

test("the key is made once and nobody else reads it", () => {
  expect(statSync(join(home, "internal.key")).mode & 0o077).toBe(0);
  expect(new Grants(home).of("web")).toEqual(grants.of("web"));
});
