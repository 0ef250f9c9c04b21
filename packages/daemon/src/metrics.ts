/** Numbers for Prometheus. */

import type { Metric } from "@spore/api";
import type { Answered, StartKind } from "@spore/gateway";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { Fleet } from "./fleet/fleet.ts";
import type { Member } from "./fleet/member.ts";
import type { Otlp } from "./telemetry/otlp.ts";

/** Seconds, from a quarter of a millisecond: a wake is a matter of milliseconds. */
const BUCKETS: number[] = [
  0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5,
  10,
];

/** How the instance of a request may have come to life; none: there was none. */
const STARTS: readonly (StartKind | "none")[] = ["warm", "snapshot", "cold", "none"];

/** A number as the library has it. */
interface Sample {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, unknown>>;
  readonly value: number;
}

/** The daemon's metrics. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #wakes: Histogram<"start">;
  readonly #phases: Histogram<"phase" | "start">;
  readonly #requests: Histogram<"app" | "status" | "start">;
  readonly #refusals: Counter<"status">;

  constructor(fleet: Fleet, otlp: Pick<Otlp, "sent" | "dropped"> | null) {
    const registers = [this.#registry];
    // Every 10 ms, as it is by default, is most of what a daemon does to whom nobody talks.
    const eventLoopMonitoringPrecision = 250;
    collectDefaultMetrics({
      register: this.#registry,
      prefix: "spore_daemon_",
      eventLoopMonitoringPrecision,
    });
    this.#wakes = new Histogram({
      name: "spore_wake_seconds",
      help: "From the decision to start an instance until it listens.",
      labelNames: ["start"],
      buckets: BUCKETS,
      registers,
    });
    this.#phases = new Histogram({
      name: "spore_wake_phase_seconds",
      help: "Parts of the time to the first byte of a request that waited for an instance: accept, wait (and shell, restore, resume of it), first_byte.",
      labelNames: ["phase", "start"],
      buckets: BUCKETS,
      registers,
    });
    this.#requests = new Histogram({
      name: "spore_request_seconds",
      help: "From the first byte of a request to the first byte of its answer, in the gateway.",
      labelNames: ["app", "status", "start"],
      buckets: BUCKETS,
      registers,
    });
    this.#refusals = new Counter({
      name: "spore_refused_requests_total",
      help: "Requests that the gateway answered in the app's place.",
      labelNames: ["status"],
      registers,
    });
    if (otlp !== null) {
      new Counter({
        name: "spore_spans_total",
        help: "Spans for the OpenTelemetry collector, by what became of them.",
        labelNames: ["result"],
        registers,
        collect() {
          this.reset();
          this.inc({ result: "sent" }, otlp.sent);
          this.inc({ result: "dropped" }, otlp.dropped);
        },
      });
    }
    new Gauge({
      name: "spore_instances",
      help: "Instances by state; standby: machines that wait to become one.",
      labelNames: ["state"],
      registers,
      collect() {
        const count = { starting: 0, ready: 0, draining: 0, stopped: 0 };
        for (const member of fleet.members.values()) count[member.state] += 1;
        for (const [state, number] of Object.entries(count)) this.set({ state }, number);
        this.set({ state: "standby" }, fleet.standing);
      },
    });
  }

  /** An instance is ready. */
  woken({ start, wakeMs }: Member): void {
    this.#wakes.observe({ start }, wakeMs / 1000);
  }

  /** A request was answered. */
  answered({ target, status, start, firstByteMs, phases }: Answered): void {
    if (start === null) this.#refusals.inc({ status });
    const app = target === null ? "" : target.slice(0, target.indexOf("/"));
    const kind = `${Math.floor(status / 100)}xx`;
    this.#requests.observe({ app, status: kind, start: start ?? "none" }, firstByteMs / 1000);
    for (const [phase, ms] of Object.entries(phases)) {
      this.#phases.observe({ phase, start: start ?? "none" }, ms / 1000);
    }
  }

  /** An app is gone, and so are its numbers. */
  forget(app: string): void {
    for (const status of ["1xx", "2xx", "3xx", "4xx", "5xx"]) {
      for (const start of STARTS) this.#requests.remove({ app, status, start });
    }
  }

  /** The same as data. */
  async list(apps: ReadonlySet<string> | null): Promise<Metric[]> {
    const all = await this.#registry.getMetricsAsJSON();
    return all.flatMap(({ name, help, type, values }) => {
      const seen = (values as readonly Sample[]).filter(
        ({ value, labels }) => Number.isFinite(value) && (apps === null || apps.has(String(labels["app"]))),
      );
      if (seen.length === 0) return [];
      const rows = seen.map(({ metricName, labels, value }) => ({
        name: metricName ?? name,
        labels: Object.fromEntries(Object.entries(labels).map(([label, text]) => [label, String(text)])),
        value,
      }));
      return [{ name, help, type: String(type), values: rows }];
    });
  }

  /** All of it, or what is of some apps alone. */
  async text(apps: ReadonlySet<string> | null): Promise<string> {
    const all = await this.#registry.metrics();
    if (apps === null) return all;
    const seen = (line: string): boolean => {
      if (line.startsWith("#")) return true;
      const app = /[{,]app="([^"]*)"/.exec(line)?.[1];
      return app !== undefined && apps.has(app);
    };
    return `${all.split("\n").filter(seen).join("\n")}\n`;
  }
}
