import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Gateway } from "@spore/gateway";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Authority } from "./authority.ts";
import { certificates } from "./certificates.ts";

let folder: string;
let authority: Authority;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "spore-authority-"));
  authority = Authority.open(folder, "example.localhost");
  writeFileSync(join(folder, "ca.crt"), authority.certificate);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What OpenSSL thinks of a certificate. */
function verified(cert: string): string {
  const file = join(folder, "host.pem");
  writeFileSync(file, cert);
  try {
    execFileSync("openssl", ["verify", "-x509_strict", "-CAfile", join(folder, "ca.crt"), file], {
      stdio: "pipe",
    });
    return "OK";
  } catch (thrown) {
    return String((thrown as { readonly stderr: Buffer }).stderr);
  }
}

/** Status of a request that verifies the certificate, or why it did not come about. */
function ask(port: number, servername: string, host: string = servername): Promise<number | string> {
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", port, servername, headers: { host }, ca: authority.certificate };
    const asked = request({ ...options, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    asked.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asked.end();
  });
}

test("is made once, with a key that nobody else reads", () => {
  expect(Authority.open(folder, "example.localhost").certificate).toBe(authority.certificate);
  expect(Authority.open(folder, "other.localhost").certificate).not.toBe(authority.certificate);
  const file = join(folder, "authority-example.localhost.pem");
  expect(statSync(file).mode & 0o077).toBe(0);
  expect(readdirSync(folder).filter((name) => name.endsWith(".new"))).toEqual([]);
});

test("that is damaged is told of with its file", () => {
  writeFileSync(join(folder, "authority-bad.localhost.pem"), "nothing");
  expect(() => Authority.open(folder, "bad.localhost")).toThrow(
    /authority-bad\.localhost\.pem cannot be used/,
  );
});

describe("OpenSSL", () => {
  test.each(["example.localhost", "a.example.localhost", "r1.a.example.localhost"])("trusts %s", (host) => {
    expect(verified(authority.issue(host).cert)).toBe("OK");
  });

  test.each(["example.com", "localhost", "notexample.localhost"])("does not trust it for %s", (host) => {
    expect(verified(authority.issue(host).cert)).toContain("permitted subtree violation");
  });
});

describe("a gateway with it", () => {
  let gateway: Gateway;
  let port: number;
  beforeAll(async () => {
    gateway = new Gateway({ router: { find: () => null } });
    port = await gateway.listenTls({ host: "127.0.0.1", port: 0 }, certificates(folder, authority));
  });
  afterAll(() => gateway.close(0));

  test("has a certificate for every host of the domain, and for an address", async () => {
    expect(await ask(port, "a.example.localhost")).toBe(404);
    expect(await ask(port, "some.thing.example.localhost")).toBe(404);
    expect(await ask(port, "", "127.0.0.1")).toBe(404);
  });

  test("has none for others", async () => {
    expect(await ask(port, "example.com")).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
  });

  test("prefers a certificate of the host's own", async () => {
    const own = Authority.open(folder, "own.localhost");
    const { cert, key } = own.issue("own.localhost");
    writeFileSync(join(folder, "b.example.localhost.crt"), cert);
    writeFileSync(join(folder, "b.example.localhost.key"), key);
    expect(await ask(port, "b.example.localhost")).not.toBe(404);
  });
});
