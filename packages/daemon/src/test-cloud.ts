/** A fleet, its gateway and a store in memory, for tests. */

import { Agent, request } from "node:http";
import type { AppSettings } from "@spore/api";
import { Gateway } from "@spore/gateway";
import type { Image } from "@spore/image";
import { defaultSettings } from "./cloud/apps.ts";
import { CloudRouter } from "./cloud/router.ts";
import { FIRST_PROJECT, OWN_TENANT, Tenants } from "./cloud/tenants.ts";
import { Urls } from "./cloud/urls.ts";
import { Events } from "./events.ts";
import { Fleet } from "./fleet/fleet.ts";
import { memoryStore } from "./store/memory.ts";
import { type ReleaseRecord, releaseKey, type Store } from "./store/types.ts";
import type { TestDriver } from "./test-driver.ts";

/** The parts of it. */
export interface TestCloud extends AsyncDisposable {
  readonly store: Store;
  readonly events: Events;
  readonly fleet: Fleet;
  readonly router: CloudRouter;
  readonly tenants: Tenants;
  readonly port: number;
  /** Puts an app with a live release 1. */
  app(name: string, scaling?: Partial<AppSettings["scaling"]>, more?: Partial<AppSettings>): void;
  get(host: string): Promise<{ readonly status: number; readonly text: string; readonly start: string }>;
}

/** Makes one over a driver. */
export async function testCloud(driver: TestDriver): Promise<TestCloud> {
  const store = memoryStore();
  const events = new Events(store);
  const tenants = new Tenants(store, events);
  const fleet: Fleet = new Fleet({
    store,
    events,
    driver,
    logs: { begin: () => {}, take: () => {}, finish: () => {}, tail: () => [] },
    snapshots: { of: () => null, drop: () => {} },
    // The driver of a test does not look at it.
    prepare: () => ({ image: {} as Image, env: {}, secrets: {} }),
    internal: () => null,
    admit: (app, memory) =>
      tenants.admitInstance(store.get("apps", app)?.tenant ?? OWN_TENANT, memory, fleet),
    place: () => {},
    wrong: (thrown) => {
      throw thrown;
    },
    woken: () => {},
  });
  const urls = new Urls(store, "localhost");
  const router = new CloudRouter({ store, fleet, urls, tenants });
  const gateway = new Gateway({ router });
  fleet.retired = (address) => gateway.forget(address);
  const port = await gateway.listen({ host: "127.0.0.1", port: 0 });
  const agent = new Agent({ keepAlive: true });
  return {
    store,
    events,
    fleet,
    router,
    tenants,
    port,
    app: (name, scaling = {}, more = {}) => {
      const settings = { ...defaultSettings, ...more, scaling: { ...defaultSettings.scaling, ...scaling } };
      const own = { tenant: OWN_TENANT, project: FIRST_PROJECT };
      const app = { name, ...own, createdAt: 0, live: 1, canary: null, lastRelease: 1, settings };
      store.put("apps", name, app);
      store.put("releases", releaseKey(name, 1), testRelease(name, 1));
    },
    get: (host) => get(port, host, agent),
    async [Symbol.asyncDispose]() {
      agent.destroy();
      await gateway.close(0);
      await fleet.close();
    },
  };
}

/** A release that says nothing special. */
export function testRelease(app: string, number: number): ReleaseRecord {
  const config = {
    env: {},
    secrets: {},
    args: null,
    cwd: null,
    memory: null,
    port: null,
    health: null,
    ready: "listen" as const,
    snapshot: false,
  };
  const image = "0".repeat(64);
  return {
    app,
    number,
    image,
    imageName: app,
    memory: 64 << 20,
    config,
    state: "ready",
    createdAt: 0,
    cause: "deploy",
  };
}

function get(
  port: number,
  host: string,
  agent: Agent,
): Promise<{ readonly status: number; readonly text: string; readonly start: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path: "/", headers: { host }, agent }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      const start = String(answer.headers["x-spore-start"] ?? "");
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text, start }));
      answer.on("error", reject);
    });
    asked.on("error", reject);
    asked.end();
  });
}
