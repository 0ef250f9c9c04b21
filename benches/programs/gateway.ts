/** The gateway in front of one server, to be measured: `gateway.ts PORT UPSTREAM`. */

import { Gateway, type Lease } from "@spore/gateway";

const [port = 0, upstream = 0] = process.argv.slice(2).map(Number);
const lease: Lease = {
  address: { host: "127.0.0.1", port: upstream },
  started: null,
  start: "warm",
  phases: {},
  release: () => {},
  rest: () => {},
  resume: () => {},
  leaving: () => false,
  unreachable: () => {},
  answered: () => {},
  unanswered: () => {},
};
const target = {
  name: "bench",
  bodyLimit: null,
  requestTimeoutMs: 60_000,
  connectionIdleMs: 60_000,
  acquire: () => lease,
};
await new Gateway({ router: { find: () => target } }).listen({ host: "127.0.0.1", port });
