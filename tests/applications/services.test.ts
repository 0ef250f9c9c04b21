// Programs of Debian, as they come: redis-server, nginx, python3; and PostgreSQL in WebAssembly.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { run } from "../support/process.ts";
import { folder } from "../support/programs.ts";
import { fixtures, node, runTarget, serve } from "../support/spore.ts";

const place = folder();

/** One answer of redis, as bytes arrive. */
async function redis(port: number, commands: readonly (readonly string[])[]): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  const bytes = commands.map(
    (words) =>
      `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`,
  );
  socket.write(`${bytes.join("")}*1\r\n$4\r\nQUIT\r\n`);
  let answer = "";
  socket.setEncoding("utf8").on("data", (text: string) => {
    answer += text;
  });
  await once(socket, "close");
  return answer;
}

/** Everything works with system calls as they are, too. */
const BOTH: readonly (readonly [string, readonly string[]])[] = [
  ["", []],
  [", through the trap", ["--no-patch"]],
];

test.each(BOTH)(
  "redis-server%s: data structures, pipelining, expiry, Lua, a clean end on SIGTERM",
  async (_, flags) => {
    const words = [
      ...flags,
      "/usr/bin/redis-server",
      "--",
      "--save",
      "",
      "--appendonly",
      "no",
      "--protected-mode",
      "no",
    ];
    await using server = await serve(6379, words);
    expect(
      await redis(server.port, [
        ["PING"],
        ["SET", "key", "wert ü"],
        ["GET", "key"],
        ["RPUSH", "list", "a", "b", "c"],
        ["LRANGE", "list", "0", "-1"],
        ["EVAL", "return redis.call('INCRBY', KEYS[1], ARGV[1]) * 2", "1", "number", "21"],
        ["SET", "short", "x", "PX", "1"],
        ["DBSIZE"],
      ]),
    ).toMatch(
      /^\+PONG\r\n\+OK\r\n\$7\r\nwert ü\r\n:3\r\n\*3\r\n\$1\r\na\r\n\$1\r\nb\r\n\$1\r\nc\r\n:42\r\n\+OK\r\n:[34]\r\n\+OK\r\n$/,
    );
    const many = Array.from({ length: 10_000 }, (_, i) => ["SET", `key:${i}`, "v".repeat(100)]);
    expect(await redis(server.port, many)).toBe("+OK\r\n".repeat(10_001));
    const clients = Array.from({ length: 50 }, () =>
      redis(
        server.port,
        Array.from({ length: 100 }, () => ["INCR", "counter"]),
      ),
    );
    await Promise.all(clients);
    expect(await redis(server.port, [["GET", "counter"]])).toBe("$4\r\n5000\r\n+OK\r\n");
    server.signal("SIGTERM");
    const { stderr, status } = await server.ended;
    expect(stderr).toContain("Redis is now ready to exit, bye bye...");
    expect(status).toBe(0);
  },
);

test.each(BOTH)(
  "nginx%s: files, ranges, many requests on one connection, a clean end on SIGQUIT",
  async (_, flags) => {
    const site = join(place, "site");
    mkdirSync(site, { recursive: true });
    const large = Buffer.alloc(3_000_000, "a file that is long ");
    writeFileSync(join(site, "index.html"), "<p>Spore</p>\n");
    writeFileSync(join(site, "large"), large);
    const config = join(place, "nginx.conf");
    writeFileSync(
      config,
      `daemon off; master_process off; pid /tmp/nginx.pid; error_log stderr notice;
events { worker_connections 256; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server { listen 8000; root /site; }
}
`,
    );
    const includes = ["--include", `${site}:/site`, "--include", `${config}:/nginx.conf`];
    const words = [...flags, ...includes, "/usr/sbin/nginx", "--", "-c", "/nginx.conf", "-p", "/tmp"];
    await using server = await serve(8000, words);
    const page = await fetch(server.url);
    expect([page.status, await page.text()]).toEqual([200, "<p>Spore</p>\n"]);
    expect(page.headers.get("server")).toMatch(/^nginx/);
    const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
    const file = await fetch(`${server.url}/large`);
    expect(digest(new Uint8Array(await file.arrayBuffer()))).toBe(digest(large));
    const part = await fetch(`${server.url}/large`, { headers: { range: "bytes=1000000-1000009" } });
    expect([part.status, await part.text()]).toEqual([206, large.toString("utf8", 1_000_000, 1_000_010)]);
    expect((await fetch(`${server.url}/missing`)).status).toBe(404);
    const urls = Array.from({ length: 500 }, () => `${server.url}/`);
    const { stdout, status } = await run("curl", ["-sS", "-w", "%{num_connects}\n", ...urls]);
    expect(status).toBe(0);
    expect(stdout).toBe(`<p>Spore</p>\n1\n${"<p>Spore</p>\n0\n".repeat(499)}`);
    server.signal("SIGQUIT");
    expect((await server.ended).status).toBe(0);
  },
);

const PYTHON = `
import hashlib, json, os, socket, sqlite3, struct, sys, tempfile, threading, zlib
print(sys.version_info[:2], os.getcwd(), sys.argv[1:])
counter, lock = 0, threading.Lock()
def count():
    global counter
    for _ in range(10000):
        with lock: counter += 1
threads = [threading.Thread(target=count) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(counter, hashlib.sha256(b"spore").hexdigest()[:16], zlib.crc32(b"spore"), struct.pack("<Q", 7))
db = sqlite3.connect(os.path.join(tempfile.mkdtemp(), "db"))
db.execute("create table t (a integer, b text)")
with db: db.executemany("insert into t values (?, ?)", ((i, "x" * (i % 10)) for i in range(10000)))
print(db.execute("select count(*), sum(a), sum(length(b)) from t").fetchone())
a, b = socket.socketpair()
a.sendall(b"over"); print(b.recv(10))
try: os.fork()
except OSError as error: print(type(error).__name__, "fork")
print(json.dumps({"lines": sys.stdin.read().split()}))
sys.exit(5)
`;

test.each(BOTH)("python3%s: threads, sqlite, sockets, standard input", async (_, flags) => {
  const library = (await run("/usr/bin/python3", ["-c", "import os; print(os.__file__)"])).stdout;
  // What Python loads by itself: its library, and what a module in there is linked against.
  const modules = (await run("/usr/bin/python3", ["-c", "import _sqlite3; print(_sqlite3.__file__)"])).stdout;
  const needed = (await run("ldd", [modules.trim()])).stdout;
  const sqlite = /=> (\S*libsqlite3\S*)/.exec(needed)?.[1] ?? "";
  const includes = [join(library.trim(), ".."), sqlite].flatMap((path) => ["--include", path]);
  const words = [...flags, ...includes, "/usr/bin/python3", "--", "-c", PYTHON, "one"];
  const guest = await runTarget(words, { input: "a b\nc\n" });
  // Linux would fork; everything else is the same.
  const linux = await run(
    "/usr/bin/python3",
    ["-c", PYTHON.replace("os.fork()", "raise BlockingIOError"), "one"],
    {
      input: "a b\nc\n",
      cwd: "/",
    },
  );
  expect(linux.status).toBe(5);
  expect(guest).toEqual(linux);
});

test.each(BOTH)("PGlite%s: a table of 10,000 rows, written, changed and asked", async (_, flags) => {
  const project = join(fixtures, "pglite");
  const linux = await run(node, [join(project, "src/main.ts")]);
  expect(linux).toMatchObject({ status: 0, stderr: "" });
  expect(linux.stdout).toContain('[{"count":10000,"sum":49995000,');
  // On Linux its memory grows to 1.1 GB.
  expect(await runTarget([...flags, "-m", "1536M", project], { deadline: 120_000 })).toEqual(linux);
});
