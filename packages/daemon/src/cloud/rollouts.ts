/**
 * Rollouts: from a release to requests that reach it. Each step is recorded
 * before the next begins and may be done twice, so that a daemon that was killed
 * at any point goes on where the record stands.
 */

import { request } from "node:http";
import type { DeploymentState } from "@spore/api";
import { asSporeError, sporeError } from "@spore/errors";
import { Refusal } from "@spore/gateway";
import type { Endpoint } from "../driver/types.ts";
import type { Events } from "../events.ts";
import { type Fleet, newId, startFailed } from "../fleet/fleet.ts";
import type { Member } from "../fleet/member.ts";
import { Snapshots } from "../snapshots.ts";
import { type DeploymentRecord, type ReleaseRecord, releaseKey, type Store } from "../store/types.ts";
import type { FaultPoint } from "./faults.ts";

/** How long the health check is tried. */
const HEALTH_MS = 10_000;
const HEALTH_RETRY_MS = 100;
/** Requests before a release is frozen: so many, and as long as this takes. */
const WARM_UP_REQUESTS = 1000;
const WARM_UP_LANES = 4;
const WARM_UP_MS = 700;
/** When what could not be kept is tried again: somebody has to make room. */
const KEEP_RETRY_MS = 1000;

/** What rollouts are made of. */
export interface RolloutParts {
  readonly store: Store;
  readonly events: Events;
  readonly fleet: Fleet;
  readonly snapshots: Snapshots;
  /** Something could not be kept: the disk may be full. */
  readonly wrong: (thrown: unknown) => void;
  /** A place where a test may end the process. */
  readonly fault: FaultPoint;
}

/** Carries out deployments. */
export class Rollouts {
  readonly #parts: RolloutParts;
  readonly #running = new Map<string, Promise<void>>();

  constructor(parts: RolloutParts) {
    this.#parts = parts;
  }

  /** Records a deployment, in the caller's transaction. `begin` carries it out. */
  record(app: string, release: number, canary: number | null): DeploymentRecord {
    const record: DeploymentRecord = {
      id: newId(),
      app,
      release,
      canary,
      state: "created",
      problem: null,
      createdAt: Date.now(),
      finishedAt: null,
    };
    this.#parts.store.put("deployments", record.id, record);
    return record;
  }

  /** Begins, or goes on with, a deployment. Those of one app come one after the other. */
  begin(record: DeploymentRecord): void {
    const before = this.#running.get(record.app) ?? Promise.resolve();
    const run = before.then(() => this.#run(record.id));
    this.#running.set(record.app, run);
    void run.then(() => {
      if (this.#running.get(record.app) === run) this.#running.delete(record.app);
    });
  }

  /** Goes on with what an earlier daemon left unfinished. */
  resume(): void {
    const { store } = this.#parts;
    for (const record of store.list("deployments")) if (record.finishedAt === null) this.begin(record);
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  async #run(id: string): Promise<void> {
    const { store, fault } = this.#parts;
    let record = store.get("deployments", id);
    try {
      if (record === null || record.finishedAt !== null) return;
      const release = store.get("releases", releaseKey(record.app, record.release));
      if (release === null) throw sporeError("SPORE_NOT_FOUND", { what: `release ${record.release}` });
      if (["created", "starting", "checking", "freezing"].includes(record.state)) {
        record = this.#step(record, "starting");
        fault("rollout.starting");
        const member = await this.#start(release);
        // It must not fall asleep while it is looked at.
        const letGo = this.#parts.fleet.pool(release.app, release.number).hold(member);
        try {
          record = this.#step(record, "checking");
          fault("rollout.checking");
          await this.#check(release, member);
          record = this.#step(record, "freezing");
          fault("rollout.freezing");
          await this.#freeze(release, member);
          record = this.#step(record, "switching");
        } finally {
          letGo();
        }
      }
      fault("rollout.switching");
      this.#switch(record, release);
      record = this.#step(record, "draining");
      fault("rollout.draining");
      this.#drainOthers(record);
      this.#step(record, "live");
      fault("rollout.live");
    } catch (thrown) {
      if (record !== null) await this.#fail(record, thrown);
    }
  }

  #step(record: DeploymentRecord, state: DeploymentState): DeploymentRecord {
    const done = state === "live" || state === "failed";
    const next = { ...record, state, finishedAt: done ? Date.now() : null };
    this.#parts.store.put("deployments", record.id, next);
    this.#tell(next);
    return next;
  }

  #tell(record: DeploymentRecord): void {
    const { app, release, id, state, problem } = record;
    const tenant = this.#parts.store.get("apps", app)?.tenant ?? null;
    const details = {
      deployment: id,
      ...(problem !== null && { code: problem.code, message: problem.message }),
    };
    this.#parts.events.tell(`deployment.${state}`, { tenant, app, release }, details);
  }

  async #start({ app, number }: ReleaseRecord): Promise<Member> {
    const member = await this.#parts.fleet.pool(app, number).warm("rollout");
    if (member.state !== "ready") throw startFailed(member);
    return member;
  }

  /** The app must answer below 500 before anybody else asks it. */
  async #check({ app, number, config }: ReleaseRecord, member: Member): Promise<void> {
    if (config.health === null) return;
    const end = performance.now() + HEALTH_MS;
    let problem = "";
    do {
      const endpoint = member.endpoint;
      if (member.state === "stopped" || endpoint === null) throw startFailed(member);
      const answer = await ask(endpoint.host, endpoint.port, config.health, `${app}.localhost`);
      const wrong = problemOfAnswer(answer);
      if (wrong === null) return;
      problem = wrong;
      await new Promise((resolve) => setTimeout(resolve, HEALTH_RETRY_MS));
    } while (performance.now() < end);
    this.#parts.fleet.pool(app, number).drain(member, "unhealthy");
    throw sporeError("SPORE_UNHEALTHY", { app, path: config.health, problem });
  }

  /** What is wrong with an instance of a release that is awake; null if nothing is, or none is awake, or nobody said how to tell. */
  async healthOf(app: string, number: number): Promise<string | null> {
    const path = this.#parts.store.get("releases", releaseKey(app, number))?.config.health ?? null;
    const awake = ({ state }: Member): boolean => state === "ready";
    const endpoint = this.#parts.fleet.pool(app, number).members.find(awake)?.endpoint ?? null;
    if (path === null || endpoint === null) return null;
    const answer = await ask(endpoint.host, endpoint.port, path, `${app}.localhost`);
    return problemOfAnswer(answer);
  }

  /** A snapshot of the warm instance. A release without one is as good, and wakes more slowly. */
  async #freeze(release: ReleaseRecord, member: Member): Promise<void> {
    const { snapshots, events, store, fleet } = this.#parts;
    if (!Snapshots.allowed(release) || snapshots.of(release) !== null) return;
    const { app, number } = release;
    const record = store.get("apps", app);
    const about = { tenant: record?.tenant ?? null, app, release: number };
    try {
      const { endpoint, handle } = member;
      if (endpoint === null || handle === null) return;
      const question = record?.settings.tcp == null ? (release.config.health ?? "/") : null;
      const first = async ({ host, port }: Endpoint): Promise<number | string> =>
        question === null ? "" : await ask(host, port, question, `${app}.localhost`);
      if (question !== null) await warmUp(() => first(endpoint));
      await snapshots.take(release, (path, base) => fleet.freeze(release, member, { path, base }, first));
      events.tell("snapshot.taken", about);
      await fleet.standBy(release);
    } catch (thrown) {
      const why = asSporeError(thrown).message;
      events.tell("snapshot.failed", about, { why });
    }
  }

  /** Moves the pointer. */
  #switch(record: DeploymentRecord, release: ReleaseRecord): void {
    const { store, events, fleet } = this.#parts;
    store.transaction(() => {
      const app = store.get("apps", record.app);
      if (app === null) throw sporeError("SPORE_NOT_FOUND", { what: `app ${record.app}` });
      const key = releaseKey(release.app, release.number);
      store.put("releases", key, { ...release, state: "ready" });
      if (record.canary === null || app.live === null) {
        store.put("apps", app.name, { ...app, live: release.number, canary: null });
      } else {
        const canary = { release: release.number, percent: record.canary };
        store.put("apps", app.name, { ...app, canary });
      }
      const details = { deployment: record.id, percent: record.canary ?? 100 };
      events.tell("release.live", { tenant: app.tenant, app: app.name, release: release.number }, details);
    });
    // What a user was told to be live is so after a power failure too.
    store.durable();
    const pool = fleet.pool(release.app, release.number);
    if (store.get("apps", release.app)?.live === release.number) {
      pool.minimum = store.get("apps", release.app)?.settings.scaling.min ?? 0;
      pool.ensureMinimum();
    }
  }

  /** Instances of releases that get no requests any more. */
  #drainOthers(record: DeploymentRecord): void {
    const { store, fleet } = this.#parts;
    const app = store.get("apps", record.app);
    for (const pool of fleet.pools(record.app)) {
      if (pool.release === app?.live || pool.release === app?.canary?.release) continue;
      fleet.retire(record.app, pool.release, "superseded");
    }
    fleet.dismissAllBut(
      record.app,
      [app?.live, app?.canary?.release].filter((release) => release != null),
    );
  }

  /** Whoever waits hears of it once it can be kept. */
  async #fail(record: DeploymentRecord, thrown: unknown): Promise<void> {
    const { store, fleet, wrong } = this.#parts;
    const failed = { ...record, problem: problemOf(thrown) };
    const app = store.get("apps", record.app);
    // It got no requests; whoever did goes on.
    if (app?.live !== record.release) fleet.retire(record.app, record.release, "superseded");
    for (;;) {
      try {
        store.transaction(() => {
          const key = releaseKey(record.app, record.release);
          const release = store.get("releases", key);
          if (release !== null && release.state === "created")
            store.put("releases", key, { ...release, state: "failed" });
          this.#step(failed, "failed");
        });
        return;
      } catch (cause) {
        wrong(cause);
        await new Promise((resolve) => setTimeout(resolve, KEEP_RETRY_MS).unref());
      }
    }
  }
}

/** What the fleet refuses is told as it is. */
function problemOf(thrown: unknown): NonNullable<DeploymentRecord["problem"]> {
  const { code, message, next } = asSporeError(thrown);
  if (!(thrown instanceof Refusal)) return { code, message, next };
  return { code: thrown.code, message: thrown.message, next: "see `spore events` for what happened" };
}

/**
 * The code behind a request is compiled before, not after, every wake: of V8, the last tier comes after
 * hundreds of calls. Several ask at a time, since most of a question is waiting.
 */
async function warmUp(ask: () => Promise<number | string>): Promise<void> {
  const end = performance.now() + WARM_UP_MS;
  let left = WARM_UP_REQUESTS;
  const lane = async (): Promise<void> => {
    while (left > 0 && performance.now() < end) {
      left -= 1;
      const answer = await ask();
      if (typeof answer !== "number" || answer >= 400) left = 0;
    }
  };
  await Promise.all(Array.from({ length: WARM_UP_LANES }, lane));
}

/** What is wrong with an app that answers its health check like this. */
function problemOfAnswer(answer: number | string): string | null {
  if (typeof answer === "string") return answer;
  return answer < 500 ? null : `it answered with status ${answer}`;
}

/** The status of an answer, or what went wrong. */
function ask(host: string, port: number, path: string, name: string): Promise<number | string> {
  return new Promise((resolve) => {
    const headers = { host: name, "user-agent": "spore-health", connection: "close" };
    const asked = request({ host, port, path, headers, timeout: HEALTH_MS, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    asked.on("timeout", () => asked.destroy(new Error("it did not answer")));
    asked.on("error", (error) => resolve(error.message));
    asked.end();
  });
}
