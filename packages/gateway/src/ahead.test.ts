import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { type Caller, Refusal, type Started } from "./target.ts";
import { app, client, gatewayFor, ok, target } from "./test-parties.ts";

describe("an instance that takes connections before it runs", () => {
  /** Sends a request with a body ahead of a start, which ends as `how` says once the request's head is there. */
  async function ahead(how: Started, refuses = false) {
    const started = Promise.withResolvers<Started>();
    const bodies: string[] = [];
    const serve = (socket: Socket): void => {
      let got = "";
      socket.setEncoding("latin1").on("data", (text: string) => {
        got += text;
        const start = got.indexOf("\r\n\r\n") + 4;
        if (start < 4) return;
        bodies.push(got.slice(start));
        if (got.endsWith("END")) socket.write(ok("whole"));
      });
    };
    await using never = await app((socket) => {
      socket.once("data", () => {
        if (refuses) socket.destroy();
        started.resolve(how);
        if (how !== "runs") socket.destroy();
      });
      if (how === "runs" && !refuses) serve(socket);
    });
    await using second = await app(serve);
    const [first, other] = [target(never.address, undefined, 5000, started.promise), target(second.address)];
    const acquire = (caller: Caller) => (first.granted === 0 ? first : other).acquire(caller);
    await using gateway = await gatewayFor({ a: { ...first, acquire } });
    const c = client(gateway.port);
    c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nxyzEND");
    const answer = await c.until(/whole$|SPORE_[\s\S]*\n$/);
    return { answer, bodies, tries: first.granted + other.granted, open: first.open + other.open };
  }

  test("gets the request at once, and its body when it runs", async () => {
    const { answer, bodies, tries, open } = await ahead("runs");
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(bodies.at(-1)).toBe("xyzEND");
    expect([tries, open]).toEqual([1, 0]);
  });

  test("has seen nothing of the request if it never comes to run: another gets it whole", async () => {
    const { answer, bodies, tries, open } = await ahead("gone");
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(bodies.at(-1)).toBe("xyzEND");
    expect([tries, open]).toEqual([2, 0]);
  });

  test("may have seen the request once it runs: it is not sent again", async () => {
    const { answer, tries, open } = await ahead("runs", true);
    expect(answer).toMatch(/^HTTP\/1\.1 502 [\s\S]*SPORE_APP_ANSWER/);
    expect([tries, open]).toEqual([1, 0]);
  });

  test("says why it does not come to run if no other may be tried", async () => {
    const { answer, tries, open } = await ahead(new Refusal(504, "SPORE_WAKE_TIMEOUT", "too late"));
    expect(answer).toMatch(/^HTTP\/1\.1 504 [\s\S]*SPORE_WAKE_TIMEOUT: too late\n$/);
    expect([tries, open]).toEqual([1, 0]);
  });

  test("gets nothing of a TCP connection before it runs", async () => {
    const started = Promise.withResolvers<Started>();
    const got: string[] = [];
    const hears = (name: string) => (socket: Socket) => {
      socket.on("data", (bytes) => {
        got.push(`${name} ${bytes}`);
        socket.write(`${name}>`);
      });
    };
    const connected = Promise.withResolvers<Socket>();
    await using never = await app((socket) => connected.resolve(socket));
    await using second = await app(hears("second"));
    const first = target(never.address, undefined, 5000, started.promise);
    const other = target(second.address);
    await using gateway = await gatewayFor({});
    const acquire = (caller: Caller) => (first.granted === 0 ? first : other).acquire(caller);
    const { port } = await gateway.gateway.listenTcp({ host: "127.0.0.1", port: 0 }, { ...first, acquire });
    const c = client(port);
    c.send("hello");
    (await connected.promise).destroy();
    started.resolve("gone");
    await c.until(/^second>$/);
    expect(got).toEqual(["second hello"]);
    expect(first.open).toBe(0);
    c.socket.destroy();
  });
});
