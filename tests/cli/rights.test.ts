// What an image does not declare, the monitor refuses: ports, destinations, devices.
import { execFileSync } from "node:child_process";
import { cpSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { folder } from "../support/programs.ts";
import { cli, eventsOf, fixtures, node, runTarget, serve, spore, startSpore } from "../support/spore.ts";

const place = folder();
let projects = 0;

/** The project of the fixture with this configuration. */
function project(config: string): string {
  const path = join(place, `project${projects++}`);
  cpSync(join(fixtures, "rights"), path, { recursive: true });
  writeFileSync(join(path, "spore.config.js"), `export default { ${config} };\n`);
  return path;
}

const hosts = [createServer(), createServer()] as const;
beforeAll(async () => {
  for (const host of hosts) await new Promise<void>((done) => void host.listen(0, "127.0.0.1", done));
});
afterAll(() => {
  for (const host of hosts) host.close();
});
const portOf = (index: 0 | 1): number => (hosts[index].address() as AddressInfo).port;

test("only declared ports are published, others stay inside of the machine", async () => {
  const target = project("ports: [8080], stopSignal: 'SIGUSR2'");
  await using server = await serve(8080, [target, "--", "serve"]);
  expect(await (await fetch(server.url)).text()).toBe("port 8080\n");
  server.signal("SIGTERM");
  const { stdout, stderr, status } = await server.ended;
  const listening = eventsOf(stdout).filter(({ event }) => event === "listening");
  expect(listening).toMatchObject([{ guestPort: 8080 }]);
  // The declared signal came instead of SIGTERM.
  expect(stderr).toContain("asked to stop\n");
  expect(status).toBe(3);

  await using without = startSpore(["run", "--json", target, "--", "serve"]);
  await without.says("stdout", /"event":"listening"/);
  await expect(fetch("http://127.0.0.1:8081")).rejects.toThrow();
  expect(eventsOf((await stopped(without)).stdout).filter(({ event }) => event === "listening")).toHaveLength(
    1,
  );
});

async function stopped(running: ReturnType<typeof startSpore>) {
  running.signal("SIGTERM");
  return await running.ended;
}

test("to publish another port is an error, also for the image in a file", async () => {
  const target = project("ports: [8080]");
  const image = join(place, "ports.spore");
  expect(await spore(["build", "-o", image, target])).toMatchObject({ status: 0 });
  for (const what of [target, image]) {
    const { status, stderr } = await runTarget(["-p", "0:8081", what, "--", "serve"]);
    expect(stderr).toContain("error[SPORE_PORT_UNDECLARED]: the image does not declare port 8081");
    expect(status).toBe(64);
  }
});

test("only declared destinations are reached", async () => {
  const target = project(`destinations: ["127.0.0.1:${portOf(0)}"]`);
  const places = [`127.0.0.1:${portOf(0)}`, `127.0.0.1:${portOf(1)}`, "192.0.2.1:80"];
  const { stdout, stderr } = await runTarget([target, "--", "connect", ...places]);
  expect(stdout).toBe(`${places[0]} reached\n${places[1]} EACCES\n${places[2]} EACCES\n`);
  expect(stderr).toContain(
    `refused to let the program reach ${places[1]} (it is not among the destinations that it may reach)`,
  );
  const free = await runTarget([project(""), "--", "connect", ...places.slice(0, 2)]);
  expect(free.stdout).toBe(`${places[0]} reached\n${places[1]} reached\n`);
});

test("a declared name stands for what the name server answers", async () => {
  const image = join(place, "names.spore");
  const target = project('destinations: ["db.test"]');
  expect(await spore(["build", "-o", image, target])).toMatchObject({ status: 0 });
  // A network of its own, where the name server may have port 53 and is the host's.
  const script = join(place, "in-namespace.mjs");
  writeFileSync(
    script,
    `import { spawnSync, spawn } from "node:child_process";
     import { createServer } from "node:http";
     import { startNameServer } from ${JSON.stringify(join(fixtures, "../support/name-server.ts"))};
     await startNameServer({ port: 53, address: [127, 0, 0, 1] });
     const server = createServer().listen(0, "127.0.0.1", () => {
       const port = String(server.address().port);
       const names = ["db.test", "other.test"];
       const next = () => {
         const name = names.shift();
         if (name === undefined) process.exit(0);
         const [command, ...words] = ${JSON.stringify([...cli, "run", "--quiet", image, "--", "lookup"])};
         spawn(command, [...words, name, port], { stdio: ["ignore", "inherit", "ignore"] }).on("close", next);
       };
       next();
     });`,
  );
  writeFileSync(join(place, "resolv.conf"), "nameserver 127.0.0.1\n");
  const setUp = `busybox ip link set lo up && mount --bind ${join(place, "resolv.conf")} /etc/resolv.conf`;
  const words = ["--map-root-user", "--mount", "--net", "sh", "-c", `${setUp} && exec ${node} ${script}`];
  expect(execFileSync("unshare", words, { encoding: "utf8" })).toBe("127.0.0.1 reached\n127.0.0.1 EACCES\n");
});

test("without network and console there is neither", async () => {
  const mute = project('devices: ["network"]');
  expect(await runTarget([mute, "--", "who"])).toMatchObject({ stdout: "", status: 0 });
  const alone = project('devices: ["console"]');
  const { stdout } = await runTarget([alone, "--", "connect", `127.0.0.1:${portOf(0)}`]);
  expect(stdout).toBe(`127.0.0.1:${portOf(0)} EACCES\n`);
  const { stderr, status } = await runTarget(["-p", "0:8080", alone, "--", "serve"]);
  expect(stderr).toContain("error[SPORE_PORT_UNDECLARED]");
  expect(status).toBe(64);
});

test("the program runs as the declared user", async () => {
  const target = project("user: { uid: 1000, gid: 1001 }");
  expect(await runTarget([target, "--", "who"])).toMatchObject({ stdout: "1000:1001\n", status: 0 });
});

test("what cannot be declared is named with its field", async () => {
  for (const [config, problem] of [
    ['destinations: ["10.0.0.0/40"]', "destinations.0: expected an address"],
    ["ports: [80, 80]", "ports: says something twice"],
    ["ports: [0]", "ports.0: "],
    ['stopSignal: "SIGKILL"', "stopSignal: "],
    ['health: "health"', "health: expected a path such as /health"],
  ] as const) {
    const { status, stderr } = await runTarget([project(config)]);
    expect(stderr).toMatch(/^error\[SPORE_CONFIG_INVALID\]/);
    expect(stderr).toContain(problem);
    expect(status).toBe(78);
  }
});
