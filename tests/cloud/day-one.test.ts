import { readdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Cloud, cloud } from "../support/cloud.ts";
import { root } from "../support/spore.ts";

const hello = join(root, "examples/hello");

interface Ps {
  readonly apps: readonly { readonly name: string; readonly live: number }[];
  readonly instances: readonly {
    readonly id: string;
    readonly state: string;
    readonly reason: string;
    readonly pid: number;
    readonly release: number;
    readonly start: string;
  }[];
}

/** Asks the daemon's own socket, with an idempotency key. */
function api(home: string, method: string, path: string, body: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "idempotency-key": "once" };
    const asked = request({ socketPath: join(home, "api.sock"), method, path, headers }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      answer.on("end", () => resolve(text));
    });
    asked.on("error", reject).end(JSON.stringify(body));
  });
}

/** Files of a folder that hold a text. */
function filesWith(folder: string, text: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(text))
    .map(({ name }) => name);
}

let spore: Cloud;
beforeAll(async () => {
  spore = await cloud();
});
afterAll(async () => {
  await spore[Symbol.asyncDispose]();
});

/** Waits until an app has no instances. */
async function asleep(app: string): Promise<void> {
  await expect
    .poll(async () => (await spore.json<Ps>(["ps", app])).instances, { timeout: 30_000 })
    .toEqual([]);
}

describe("day one", () => {
  test("a second `spore up` finds the daemon", async () => {
    const { status, stdout } = await spore.up();
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ already: true, home: spore.home });
  });

  test("`spore deploy` prints a URL, and the app answers there", async () => {
    const done = await spore.json<{ url: string; release: number }>(["deploy", hello]);
    expect(done).toMatchObject({ url: `http://hello.localhost:${spore.port}`, release: 1, state: "live" });
    const answer = await spore.get("hello");
    expect(answer).toMatchObject({ status: 200, text: "Hello from Spore\n" });
    expect(answer.headers["x-spore-start"]).toBe("warm");
  });

  test("what it wrote and what happened can be seen", async () => {
    const { stdout: logs } = await spore.spore(["logs", "hello"]);
    expect(logs).toMatch(/r1 \w{6} 1 listening on port 8080\n$/);
    const { stdout: events } = await spore.spore(["events", "hello"]);
    const steps = ["created", "starting", "checking", "switching", "draining", "live"];
    for (const step of steps) expect(events).toContain(`deployment.${step}`);
    expect(await spore.json(["inspect", "hello"])).toMatchObject({
      app: { live: 1 },
      release: { number: 1 },
    });
  });

  test("an unchanged app is deployed again as another release, and nothing is uploaded", async () => {
    const done = await spore.json(["deploy", hello, "--idle", "100ms"]);
    expect(done).toMatchObject({ release: 2, state: "live" });
    // It is what was frozen before, unless it is to be made anew.
    const starts = async (): Promise<string[]> => {
      const { instances } = await spore.json<Ps>(["ps", "hello", "--all"]);
      return instances.filter(({ release }) => release > 1).map(({ start }) => start);
    };
    expect(await starts()).toEqual(["snapshot"]);
    expect(await spore.json(["deploy", "--fresh", hello])).toMatchObject({ release: 3, state: "live" });
    expect(new Set(await starts())).toEqual(new Set(["snapshot", "cold"]));
  });

  test("an app that nobody calls sleeps, and wakes for the next request", async () => {
    await asleep("hello");
    const answer = await spore.get("hello");
    expect(answer).toMatchObject({ status: 200, text: "Hello from Spore\n" });
    expect(answer.headers["x-spore-start"]).toMatch(/^(cold|snapshot)$/);
    expect(answer.headers["server-timing"]).toMatch(
      /^spore-accept;dur=[\d.]+, spore-wait;dur=[\d.]+, spore-(cold|snapshot);dur=[\d.]+(, spore-(shell|restore|resume);dur=[\d.]+)*, spore-first_byte;dur=[\d.]+$/,
    );
  });

  test("many requests at once wake it once", async () => {
    await asleep("hello");
    const { instances: before } = await spore.json<Ps>(["ps", "hello", "--all"]);
    const answers = await Promise.all(Array.from({ length: 20 }, () => spore.get("hello")));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 200));
    const { instances } = await spore.json<Ps>(["ps", "hello", "--all"]);
    expect(instances.length - before.length).toBe(1);
  });
});

test("a daemon that is killed is found again with its apps, logs and the instances that run", async () => {
  await spore.json(["deploy", hello, "--idle", "1h"]);
  await spore.get("hello");
  const { instances: before } = await spore.json<Ps>(["ps", "hello"]);
  const { stdout: logs } = await spore.spore(["logs", "hello"]);
  await spore.kill();
  expect((await spore.spore(["ps"])).stderr).toContain("error[SPORE_DAEMON_UNREACHABLE]");
  expect((await spore.up()).status).toBe(0);
  await expect
    .poll(async () => (await spore.json<Ps>(["ps", "hello"])).instances.map(({ reason }) => reason), {
      timeout: 30_000,
    })
    .toEqual(["adopted"]);
  const { instances } = await spore.json<Ps>(["ps", "hello"]);
  expect(instances.map(({ id, pid }) => ({ id, pid }))).toEqual(before.map(({ id, pid }) => ({ id, pid })));
  expect((await spore.get("hello")).headers["x-spore-start"]).toBe("warm");
  expect((await spore.spore(["logs", "hello"])).stdout).toBe(logs);
});

test("a monitor that is killed is noticed, also by a daemon that did not start it, and replaced", async () => {
  const { instances } = await spore.json<Ps>(["ps", "hello"]);
  const [{ pid, id } = { pid: 0, id: "" }] = instances;
  process.kill(pid, "SIGKILL");
  const state = async (): Promise<string> => (await spore.json<{ state: string }>(["inspect", id])).state;
  await expect.poll(state, { timeout: 30_000 }).toBe("stopped");
  expect(await spore.get("hello")).toMatchObject({ status: 200 });
});

test("a release goes back and forth", async () => {
  expect(await spore.json(["rollback", "hello", "1"])).toMatchObject({ release: 1, state: "live" });
  expect(await spore.get("hello")).toMatchObject({ status: 200 });
  expect(await spore.json(["rollback", "hello", "4"])).toMatchObject({ release: 4 });
  const [newest] = await spore.json<{ number: number; live: boolean }[]>(["releases", "hello"]);
  expect(newest).toMatchObject({ number: 4, live: true });
  // A release alone, at an address of its own.
  expect(await spore.get("r2.hello")).toMatchObject({ status: 200 });
});

test("a release that cannot start gets no request, and says why", async () => {
  const { status, stderr } = await spore.spore(["deploy", "--name", "hello", "/bin/false"]);
  expect(status).toBe(69);
  expect(stderr).toMatch(
    /error\[SPORE_START_FAILED\]: hello did not start: exit status 1 before it listened — see `spore logs hello`/,
  );
  expect(await spore.get("hello")).toMatchObject({ status: 200, text: "Hello from Spore\n" });
});

test("variables and secrets reach the app with a new release; secrets are never shown", async () => {
  await spore.json(["deploy", "--name", "vars", join(root, "tests/fixtures/cloud-vars")]);
  await spore.json(["env", "vars", "--set", "GREETING=hi"]);
  await spore.json(["secret", "vars", "--set", "API_KEY"], { input: "s3cret-marker\n" });
  expect(JSON.parse((await spore.get("vars")).text)).toEqual({ GREETING: "hi", API_KEY: "s3cret-marker" });
  const shown = await spore.spore(["inspect", "vars"]);
  expect(shown.stdout).toContain("API_KEY");
  expect(shown.stdout).not.toContain("s3cret-marker");
  const { stdout } = await spore.spore(["events"]);
  expect(stdout).not.toContain("s3cret-marker");
  // A call that may be sent again is remembered; what it set is not.
  const changed = await api(spore.home, "PATCH", "/v1/apps/vars/secrets", {
    set: { OTHER: "s3cret-marker" },
  });
  expect(changed).toMatch(/^\{"deployment":\{/);
  expect(filesWith(spore.home, "s3cret-marker")).toEqual([]);
});

test("an app that is removed is gone, with a word of warning before", async () => {
  const { status, stderr } = await spore.spore(["rm", "vars"]);
  expect(status).toBe(64);
  expect(stderr).toContain("spore rm --yes vars");
  await spore.json(["rm", "--yes", "vars"]);
  expect(await spore.get("vars")).toMatchObject({ status: 404 });
});
