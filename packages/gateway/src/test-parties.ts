/** Apps and clients for the gateway's tests: real sockets, bytes as they are. */

import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";
import { Gateway } from "./gateway.ts";
import type { Address, Answered, Caller, Finished, Lease, Started, StartKind, Target } from "./target.ts";

/** What a client has got of a connection so far. */
export interface Client {
  readonly socket: Socket;
  send(text: string): void;
  /** Waits until what came matches. */
  until(what: RegExp): Promise<string>;
  /** Waits for the end; all that came. */
  all(): Promise<string>;
}

/** Connects to a port. */
export function client(port: number): Client {
  const socket = connect({ host: "127.0.0.1", port, noDelay: true });
  let got = "";
  let ended = false;
  const looks = new Set<() => void>();
  const look = (): void => {
    for (const check of looks) check();
  };
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    got += text;
    look();
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    ended = true;
    look();
  });
  const wait = (done: () => boolean, what: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (done()) resolve(got);
        else if (ended) reject(new Error(`the connection ended without ${what}: ${JSON.stringify(got)}`));
        else return;
        looks.delete(check);
      };
      looks.add(check);
      check();
    });
  return {
    socket,
    send: (text) => void socket.write(text, "latin1"),
    until: (what) => wait(() => what.test(got), String(what)),
    all: () => wait(() => ended, "an end"),
  };
}

/** A server whose connections a test answers by hand. */
export interface App extends AsyncDisposable {
  readonly address: Address;
  readonly connections: readonly Socket[];
}

/** Starts one; `serve` gets each connection. */
export async function app(serve: (socket: Socket) => void): Promise<App> {
  const connections: Socket[] = [];
  const server: Server = createServer({ noDelay: true }, (socket) => {
    connections.push(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: { host: "127.0.0.1", port },
    connections,
    async [Symbol.asyncDispose]() {
      for (const socket of connections) socket.destroy();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}

/** Answers every request with what `answer` makes of its bytes. */
export function answering(answer: (request: string) => string): (socket: Socket) => void {
  return (socket) => {
    let got = "";
    socket.setEncoding("latin1").on("data", (text: string) => {
      got += text;
      for (let end = got.indexOf("\r\n\r\n"); end >= 0; end = got.indexOf("\r\n\r\n")) {
        const request = got.slice(0, end + 4);
        got = got.slice(end + 4);
        socket.write(answer(request), "latin1");
      }
    });
  };
}

/** A target whose leases are counted. */
export interface TestTarget extends Target {
  open: number;
  granted: number;
  unreachable: number;
  resting: number;
  /** Answers that began, and that did not in time. */
  answers: number;
  unanswered: number;
  /** Its instance was told to stop. */
  stopped: boolean;
}

/** Gives leases to `address`, after `before` if it is given. */
export function target(
  address: Address,
  before?: (caller: Caller) => Promise<StartKind>,
  requestTimeoutMs: number = 5000,
  started: Promise<Started> | null = null,
): TestTarget {
  const lease = (start: StartKind): Lease => {
    made.open += 1;
    made.granted += 1;
    let open = true;
    const release = (): void => {
      if (open) made.open -= 1;
      open = false;
    };
    return {
      address,
      started,
      start,
      phases: start === "warm" ? {} : { wait: 1.5 },
      release,
      rest: () => {
        made.resting += 1;
      },
      resume: () => {
        made.resting -= 1;
      },
      leaving: () => made.stopped,
      unreachable: () => {
        made.unreachable += 1;
        release();
      },
      answered: () => {
        made.answers += 1;
      },
      unanswered: () => {
        made.unanswered += 1;
      },
    };
  };
  const made: TestTarget = {
    name: "test",
    requestTimeoutMs,
    bodyLimit: null,
    connectionIdleMs: 30,
    open: 0,
    granted: 0,
    unreachable: 0,
    resting: 0,
    answers: 0,
    unanswered: 0,
    stopped: false,
    acquire: (caller) => (before === undefined ? lease("warm") : before(caller).then(lease)),
  };
  return made;
}

/** A gateway in front of targets by host name. */
export interface TestGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly port: number;
  readonly answered: readonly Answered[];
}

/** Starts one. */
export async function gatewayFor(
  targets: Readonly<Record<string, Target>>,
  finished: ((what: Finished) => void) | null = null,
  times: { readonly stalledMs?: number; readonly headMs?: number } = {},
): Promise<TestGateway> {
  const answered: Answered[] = [];
  const gateway = new Gateway({
    router: { find: (host) => targets[host] ?? null },
    answered: (what) => void answered.push(what),
    finished,
    ...times,
  });
  const port = await gateway.listen({ host: "127.0.0.1", port: 0 });
  return { gateway, port, answered, [Symbol.asyncDispose]: () => gateway.close(0) };
}

/** A request for `a`. */
export function get(path: string = "/", ...lines: readonly string[]): string {
  return `GET ${path} HTTP/1.1\r\nHost: a\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
}

/** A small answer. */
export function ok(body: string, ...lines: readonly string[]): string {
  const more = lines.map((line) => `${line}\r\n`).join("");
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`;
}
