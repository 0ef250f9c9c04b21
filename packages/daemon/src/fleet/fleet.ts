/** All instances of all apps: starts and stops them, and keeps what is known of them. */

import { randomBytes } from "node:crypto";
import type { Event, Instance, InstanceReason } from "@spore/api";
import { asSporeError, sporeError } from "@spore/errors";
import { type Address, Refusal } from "@spore/gateway";
import type { InternalGrant } from "../cloud/internal.ts";
import type { Ended, Endpoint, InstanceDriver, LaunchSpec } from "../driver/types.ts";
import type { Events } from "../events.ts";
import type { Logs } from "../logs/logs.ts";
import { type InstanceRecord, namedKey, type ReleaseRecord, releaseKey, type Store } from "../store/types.ts";
import { Member } from "./member.ts";
import { Pool, type PoolHost, tooLate } from "./pool.ts";

/** Stopped instances that are remembered, for each app. */
const REMEMBERED = 20;
/** Crashes that are remembered for each app, and lines of each. */
const CRASHES = 20;
const CRASH_LINES = 100;
/** How long a program may take to stop, and how much longer its monitor. */
const GRACE_MS = 10_000;
const KILL_AFTER_MS: number = GRACE_MS + 2000;

/** What is needed to start an instance of a release; made once and kept. */
export type Prepared = Pick<LaunchSpec, "image" | "env" | "secrets">;

/** The snapshot of a release, and what to do when it does not fit. */
export interface SnapshotSource {
  of(release: Pick<ReleaseRecord, "app" | "number">): string | null;
  drop(release: Pick<ReleaseRecord, "app" | "number">): void;
}

/** What a fleet is made of. */
export interface FleetParts {
  readonly store: Store;
  readonly events: Events;
  readonly logs: Pick<Logs, "begin" | "take" | "finish" | "tail">;
  readonly driver: InstanceDriver;
  /** Image and variables of a release, at once if they are at hand. */
  readonly prepare: (release: ReleaseRecord) => Prepared | Promise<Prepared>;
  readonly snapshots: SnapshotSource;
  /** How instances of an app reach other apps. */
  readonly internal: (app: string) => InternalGrant | null;
  /** Throws a `Refusal` if the tenant may not have another instance. */
  readonly admit: (app: string, memory: number) => void;
  /** Puts the process of an instance where the limits of its tenant hold. */
  readonly place: (app: string, pid: number) => void;
  /** Something could not be kept: the disk may be full. Instances go on. */
  readonly wrong: (thrown: unknown) => void;
  /** Told of each instance that became ready. */
  readonly woken: (member: Member) => void;
}

/** All instances. */
export class Fleet {
  readonly #parts: FleetParts;
  readonly #pools = new Map<string, Pool>();
  readonly #members = new Map<string, Member>();
  readonly #stopped = new Map<string, string[]>();
  /** Set by the gateway: closes idle connections. */
  retired: (address: Address) => void = () => {};
  #closing = false;

  constructor(parts: FleetParts) {
    this.#parts = parts;
  }

  /** The pool of a release, made when it is first asked for. */
  pool(app: string, release: number): Pool {
    const key = releaseKey(app, release);
    const known = this.#pools.get(key);
    if (known !== undefined) return known;
    const host: PoolHost = {
      settings: () => this.#settings(app),
      start: (pool, reason) => this.#start(pool, reason),
      stop: (member, reason) => this.#stop(member, reason),
      asleep: (member) => {
        member.catchUp();
        this.#tell("instance.asleep", member, { connections: member.resting });
      },
      retire: (member) => {
        if (member.endpoint !== null) this.retired(member.endpoint);
      },
    };
    const pool = new Pool(app, release, host);
    this.#pools.set(key, pool);
    return pool;
  }

  /** Pools of an app that exist. */
  pools(app: string): readonly Pool[] {
    return [...this.#pools.values()].filter((pool) => pool.app === app);
  }

  /** Instances that run. */
  get members(): ReadonlyMap<string, Member> {
    return this.#members;
  }

  /** Machines that stand by. */
  get standing(): number {
    return this.#parts.driver.standing;
  }

  /** An instance as the API tells of it. */
  instance(id: string): Instance | null {
    const member = this.#members.get(id);
    if (member !== undefined) return instanceOf(member.record(), member.inFlight);
    const record = this.#parts.store.get("instances", id);
    return record === null ? null : instanceOf(record, 0);
  }

  /** A release of an app gets no requests any more, or the app itself (null). */
  retire(app: string, release: number | null, reason: InstanceReason): void {
    for (const pool of this.pools(app)) {
      if (release !== null && pool.release !== release) continue;
      pool.drainAll(reason);
      this.#discard(pool);
    }
  }

  /** Of a release that is not asked for any more, nothing is kept but what it needs to stop. */
  #discard(pool: Pool): void {
    const { live = null, canary = null } = this.#parts.store.get("apps", pool.app) ?? {};
    if (pool.release === live || pool.release === canary?.release || !pool.unused) return;
    this.#pools.delete(releaseKey(pool.app, pool.release));
  }

  /** Takes an instance out and stops it. */
  drain(id: string, reason: InstanceReason): void {
    const member = this.#members.get(id);
    if (member !== undefined) this.pool(member.app, member.release).drain(member, reason);
  }

  /** Forgets an app whose instances have been told to stop. */
  forget(app: string): void {
    this.retire(app, null, "requested");
    this.#parts.driver.dismiss(app, []);
    const { store } = this.#parts;
    for (const id of this.#stopped.get(app) ?? []) store.delete("instances", id);
    for (const { id } of store.list("crashes", { prefix: `${app}/` })) {
      store.delete("crashes", namedKey(app, id));
    }
    this.#stopped.delete(app);
  }

  #settings(app: string) {
    const record = this.#parts.store.get("apps", app);
    if (record === null) throw new Refusal(404, "SPORE_NO_APP", `there is no app ${app} any more`);
    return record.settings;
  }

  #start(pool: Pool, reason: InstanceReason): Member {
    const { store, admit, prepare } = this.#parts;
    if (this.#closing) throw new Refusal(503, "SPORE_OVERLOADED", "the daemon is going down", 2);
    const release = store.get("releases", releaseKey(pool.app, pool.release));
    if (release === null)
      throw new Refusal(404, "SPORE_NO_APP", `there is no release ${pool.release} any more`);
    admit(pool.app, release.memory ?? 0);
    const member = new Member(newId(), pool.app, pool.release, reason);
    member.memory = release.memory ?? 0;
    this.#members.set(member.id, member);
    const timeout = this.#settings(pool.app).startTimeoutMs;
    member.arm(timeout, () => this.#onStartTimeout(member));
    const prepared = prepare(release);
    if (prepared instanceof Promise) {
      prepared.then(
        (ready) => this.#launch(member, release, ready),
        (thrown: unknown) => this.#onLaunchFailed(member, thrown),
      );
    } else {
      this.#launch(member, release, prepared);
    }
    // The machine comes up meanwhile; its own news come in a later turn.
    member.later(() => this.#tell("instance.starting", member, { reason }));
    return member;
  }

  #launch(member: Member, release: ReleaseRecord, prepared: Prepared): void {
    // It may have been given up while its image was opened.
    if (member.state !== "starting") {
      this.#onEnded(member, { kind: "exited", outcome: "not started" });
      return;
    }
    const { id, app } = member;
    try {
      member.handle = this.#parts.driver.launch(this.#spec(id, release, prepared), {
        refused: (why) => this.#onRefused(member, release, why),
        listening: (endpoint) => this.#onListening(member, endpoint),
        moved: () => this.#onMoved(member),
        holds: (count) => this.#onHolds(member, count),
        awake: () => this.#onAwake(member),
        ended: (how) => this.#onEnded(member, how),
      });
    } catch (thrown) {
      this.#onLaunchFailed(member, thrown);
      return;
    }
    const { handle } = member;
    member.start = handle.start;
    if (handle.ahead !== null) {
      member.takesAhead(handle.ahead);
      this.pool(app, release.number).onTakes(member);
    }
    // While the machine comes up: an instance that is not known does not outlive the daemon.
    setImmediate(() => {
      if (member.state !== "stopped") this.#keep(member);
    });
    member.later(() => {
      this.#parts.place(app, handle.pid);
      this.#attempt(() => this.#parts.logs.begin({ id, app, release: release.number }));
      this.#attempt(() => handle.look());
    });
  }

  #spec(id: string, release: ReleaseRecord, prepared: Prepared): LaunchSpec {
    const { app, number } = release;
    const { args, cwd, memory, port, ready } = release.config;
    return {
      id,
      app,
      release: number,
      ...prepared,
      args,
      cwd,
      memory,
      port,
      ready,
      snapshot: this.#parts.snapshots.of(release),
      destinations: this.#settings(app).network.allow,
      internal: this.#parts.internal(app),
      graceMs: GRACE_MS,
    };
  }

  /** Freezes an instance of a release, which runs on, and finds out what the file's first request needs. */
  async freeze(
    release: ReleaseRecord,
    { handle }: Member,
    { path, base }: { readonly path: string; readonly base: string | null },
    ask: (endpoint: Endpoint) => Promise<unknown>,
  ): Promise<void> {
    const { driver, prepare } = this.#parts;
    await handle?.freeze(path, base);
    try {
      const spec = this.#spec(newId(), release, await prepare(release));
      await driver.tryOut({ ...spec, snapshot: path }, ask);
    } catch {
      // Restores are right without it, only slower.
    }
  }

  /** An instance of the release may be wanted soon. */
  async standBy(release: ReleaseRecord): Promise<void> {
    const prepared = await this.#parts.prepare(release);
    if (!this.#closing) this.#parts.driver.standBy(this.#spec(newId(), release, prepared));
  }

  /** Instances of other releases of an app will hardly be wanted any more. */
  dismissAllBut(app: string, releases: readonly number[]): void {
    const kept = releases.map((number) => this.#parts.snapshots.of({ app, number }));
    this.#parts.driver.dismiss(
      app,
      kept.filter((path) => path !== null),
    );
  }

  /** The next one boots from the start. */
  #onRefused(member: Member, release: ReleaseRecord, why: string): void {
    this.#parts.snapshots.drop(release);
    this.dismissAllBut(release.app, []);
    this.#tell("snapshot.refused", member, { why });
  }

  /** Not in this turn: whoever started it does not have it yet. */
  #onLaunchFailed(member: Member, thrown: unknown): void {
    const { message } = asSporeError(thrown);
    setImmediate(() => this.#onEnded(member, { kind: "start-failed", outcome: message }));
  }

  #onStartTimeout(member: Member): void {
    if (member.state !== "starting") return;
    member.reason = "start-timeout";
    member.outcome = member.handle?.missing ?? "it was not begun in time";
    if (member.handle === null) this.#onEnded(member, { kind: "start-failed", outcome: member.outcome });
    else member.handle.kill();
  }

  #onListening(member: Member, endpoint: Endpoint): void {
    if (member.wakeMs === 0) member.wakeMs = performance.now() - member.begun;
    member.nowStarted("runs");
    // A program may listen anew; the first time counts.
    if (member.state !== "starting") return;
    member.readyAt = Date.now();
    this.#onReady(member, endpoint, "listening");
    member.later(() => {
      this.#parts.woken(member);
      const ms = Math.round(member.wakeMs * 1000) / 1000;
      this.#tell("instance.ready", member, { start: member.start, ms });
    });
  }

  /** What was to be woken is gone, and it starts in another way. */
  #onMoved(member: Member): void {
    member.endpoint = null;
    member.nowStarted("gone");
  }

  #onHolds(member: Member, count: number): void {
    this.pool(member.app, member.release).onHolds(member, count);
  }

  #onAwake(member: Member): void {
    this.pool(member.app, member.release).onAwake(member);
    this.#tell("instance.awake", member, {});
  }

  #stop(member: Member, reason: InstanceReason): void {
    if (member.state === "stopped") return;
    member.catchUp();
    member.state = "draining";
    member.reason = reason;
    if (member.handle === null) return;
    this.#keep(member);
    member.handle.stop();
    member.arm(KILL_AFTER_MS, () => member.handle?.kill());
  }

  #onEnded(member: Member, how: Ended): void {
    if (member.state === "stopped") return;
    member.catchUp();
    const before = member.state;
    member.state = "stopped";
    member.stoppedAt = Date.now();
    member.outcome ??= how.outcome;
    const late = member.reason === "start-timeout";
    member.nowStarted(late ? tooLate() : "gone");
    const asked = before === "draining" || late;
    if (!asked) member.reason = how.kind;
    member.disarm();
    this.#members.delete(member.id);
    if (member.endpoint !== null) this.retired(member.endpoint);
    this.#attempt(() => this.#parts.logs.finish(member.id));
    this.#parts.driver.clean(member.id);
    this.#attempt(() => this.#remember(member));
    const { reason, outcome } = member;
    if (!asked) this.#attempt(() => this.#report(member, how.outcome));
    this.#tell("instance.stopped", member, { reason, outcome });
    const pool = this.pool(member.app, member.release);
    pool.onStopped(member, before === "starting");
    this.#discard(pool);
    for (const settled of member.settled.splice(0)) settled();
  }

  /** Keeps what is known of an end that nobody had asked for. */
  #report({ id, app, release, reason }: Member, outcome: string): void {
    const { store, logs } = this.#parts;
    if (store.get("apps", app) === null) return;
    const lines = logs.tail(app, id, CRASH_LINES);
    store.put("crashes", namedKey(app, id), { id, app, release, time: Date.now(), reason, outcome, lines });
    const all = store.list("crashes", { prefix: `${app}/` });
    for (const { id: oldest } of all.slice(0, -CRASHES)) store.delete("crashes", namedKey(app, oldest));
  }

  /** Keeps the record of a stopped instance, and not too many of them. */
  #remember(member: Member): void {
    const { store } = this.#parts;
    if (store.get("apps", member.app) === null) {
      store.delete("instances", member.id);
      return;
    }
    const stopped = this.#stopped.get(member.app) ?? [];
    this.#stopped.set(member.app, stopped);
    stopped.push(member.id);
    store.transaction(() => {
      this.#keep(member);
      const oldest = stopped.length > REMEMBERED ? stopped.shift() : undefined;
      if (oldest !== undefined) store.delete("instances", oldest);
    });
  }

  #keep(member: Member): void {
    this.#attempt(() => this.#parts.store.put("instances", member.id, member.record()));
  }

  #tell(kind: string, member: Member, details: Event["details"]): void {
    this.#attempt(() => this.#parts.events.tell(kind, this.#about(member), details));
  }

  /** Does what an instance can live without. */
  #attempt(work: () => void): void {
    try {
      work();
    } catch (thrown) {
      this.#parts.wrong(thrown);
    }
  }

  #about({ app, release, id }: Member) {
    const tenant = this.#parts.store.get("apps", app)?.tenant ?? null;
    return { tenant, app, release, instance: id };
  }

  /** Finds the instances of an earlier daemon, and tells of those that are gone. */
  adopt(): void {
    const { store, driver, logs } = this.#parts;
    const known = new Map<string, number | null>();
    for (const record of store.list("instances")) {
      if (record.state === "stopped") {
        const stopped = this.#stopped.get(record.app) ?? [];
        this.#stopped.set(record.app, [...stopped, record.id]);
        continue;
      }
      const { id, app, release } = record;
      const member = restored(record);
      member.memory = store.get("releases", releaseKey(app, release))?.memory ?? 0;
      const { port = null, ready = "listen" } = store.get("releases", releaseKey(app, release))?.config ?? {};
      const handle =
        store.get("apps", app) === null
          ? null
          : driver.adopt(
              {
                id,
                app,
                port,
                ready,
                pid: record.pid,
                ticks: record.ticks,
                restored: record.start === "snapshot",
              },
              {
                refused: () => {},
                moved: () => {},
                listening: (endpoint) => this.#onAdopted(member, endpoint),
                holds: (count) => this.#onHolds(member, count),
                awake: () => this.#onAwake(member),
                ended: (how) => this.#onEnded(member, how),
              },
            );
      logs.take({ id, app, release });
      this.#members.set(id, member);
      if (handle === null) {
        member.state = "ready";
        this.#onEnded(member, { kind: "lost", outcome: "gone while no daemon ran" });
        continue;
      }
      known.set(id, handle.pid);
      member.handle = handle;
      member.start = handle.start;
      if (record.state === "draining") this.#stop(member, record.reason);
      else this.#adoptStarting(member);
      this.#tell("instance.adopted", member, { pid: handle.pid });
    }
    driver.sweep(known);
  }

  #adoptStarting(member: Member): void {
    member.arm(this.#settings(member.app).startTimeoutMs, () => this.#onStartTimeout(member));
    this.pool(member.app, member.release).adopt(member);
  }

  #onAdopted(member: Member, endpoint: Endpoint): void {
    if (member.state !== "starting") return;
    member.readyAt ??= Date.now();
    this.#onReady(member, endpoint, "adopted");
  }

  #onReady(member: Member, endpoint: Endpoint, reason: InstanceReason): void {
    member.start = member.handle?.start ?? member.start;
    member.endpoint = endpoint;
    member.state = "ready";
    member.reason = reason;
    member.disarm();
    this.pool(member.app, member.release).onReady(member);
    for (const settled of member.settled.splice(0)) settled();
    member.later(() => this.#keep(member));
  }

  /** Stops everything; resolves when all has stopped. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#parts.driver.close();
    const members = [...this.#members.values()];
    const stopped = members.map(
      (member) =>
        new Promise<void>((resolve) => {
          const look = (): void => {
            if (member.state === "stopped") resolve();
            else member.settled.push(look);
          };
          look();
        }),
    );
    for (const member of members) {
      member.catchUp();
      this.pool(member.app, member.release).drain(member, "requested");
    }
    await Promise.all(stopped);
  }
}

function restored(record: InstanceRecord): Member {
  const member = new Member(record.id, record.app, record.release, record.reason);
  member.readyAt = record.readyAt;
  return Object.assign(member, { createdAt: record.createdAt });
}

function instanceOf({ ticks: _, ...record }: InstanceRecord, inFlight: number): Instance {
  return { ...record, inFlight };
}

let newest = 0;

/** An id that sorts by time, also when the clock is put back. */
export function newId(): string {
  newest = Math.max(newest + 1, Date.now());
  return `${newest.toString(36).padStart(9, "0")}-${randomBytes(5).toString("hex")}`;
}

/** The error of a start that did not come to an end. */
export function startFailed(member: Member): Error {
  return sporeError("SPORE_START_FAILED", { app: member.app, problem: member.problem });
}
