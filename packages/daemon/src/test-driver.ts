/** Instances without machines: servers in this process, for tests of everything above a driver. */

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Handle, InstanceDriver, InstanceWatch, LaunchSpec } from "./driver/types.ts";

/** What an instance answers. */
export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** How the instances of a test behave. */
export interface TestDriverOptions {
  /** How an instance answers. Default: 200, with its id. */
  readonly answer?: (spec: LaunchSpec) => Answer | Promise<Answer>;
  /** Called instead of listening. */
  readonly instead?: (spec: LaunchSpec, watch: InstanceWatch) => void;
}

/** A driver and what it was asked for. */
export interface TestDriver extends InstanceDriver {
  readonly launched: LaunchSpec[];
  /** Instances that run. */
  readonly running: Map<string, Server>;
  /** Who is told of each. */
  readonly watches: Map<string, InstanceWatch>;
  /** Requests that came to instances that had been told to stop. */
  late: number;
}

/** Makes one. */
export function testDriver(options: TestDriverOptions = {}): TestDriver {
  const { answer = ({ id }: LaunchSpec) => ({ status: 200, text: id }), instead } = options;
  const driver: TestDriver = {
    launched: [],
    running: new Map(),
    watches: new Map(),
    late: 0,
    adopt: () => null,
    clean: () => {},
    sweep: () => {},
    standBy: () => {},
    tryOut: async () => {},
    standing: 0,
    standingBytes: () => 0,
    dismiss: () => {},
    close: () => {},
    launch: (spec, watch) => {
      driver.launched.push(spec);
      driver.watches.set(spec.id, watch);
      if (instead !== undefined) {
        setImmediate(() => instead(spec, watch));
        return handle(() => setImmediate(() => watch.ended({ kind: "exited", outcome: "SIGTERM" })));
      }
      let stopping = false;
      const server = createServer(async (_request, response) => {
        if (stopping) driver.late += 1;
        const { status, text } = await answer(spec);
        response.writeHead(status).end(text);
      });
      const end = (): void => {
        if (stopping) return;
        stopping = true;
        driver.running.delete(spec.id);
        server.close();
        // As a machine that is gone: what is open is cut off.
        server.closeAllConnections();
        setImmediate(() => watch.ended({ kind: "exited", outcome: "SIGTERM" }));
      };
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo;
        driver.running.set(spec.id, server);
        watch.listening({ guestPort: 8080, host: "127.0.0.1", port });
      });
      return handle(end);
    },
  };
  return driver;
}

function handle(end: () => void): Handle {
  return {
    pid: 1,
    ticks: "1",
    start: "cold",
    ahead: null,
    phases: {},
    missing: "it did not listen on port 8080 in time",
    freeze: async () => {},
    sleep: null,
    look: () => {},
    stop: end,
    kill: end,
  };
}
