/** What the API speaks of, as types. schemas.ts checks each of them at the border. */

/** How an instance came to life for a request. */
export type StartKind = "warm" | "snapshot" | "cold";

/** Where an instance is in its life. */
export type InstanceState = "starting" | "ready" | "draining" | "stopped";

/** Why an instance is in its state. */
export type InstanceReason =
  /** Starting: a request waits for it. */
  | "demand"
  /** Starting: `min` of the app asks for it. */
  | "minimum"
  /** Starting: a rollout tries the release. */
  | "rollout"
  /** Ready: the app listens. */
  | "listening"
  /** Ready: found alive by a new daemon. */
  | "adopted"
  /** Draining, stopped: nobody called for a while. */
  | "idle"
  /** Draining, stopped: another release took over. */
  | "superseded"
  /** Draining, stopped: somebody asked for it. */
  | "requested"
  /** Stopped: the program ended by itself. */
  | "exited"
  /** Stopped: a signal or the library OS ended the program. */
  | "crashed"
  /** Stopped: it did not listen in time. */
  | "start-timeout"
  /** Stopped: it did not answer its health check. */
  | "unhealthy"
  /** Draining, stopped: it let several requests in a row go unanswered. */
  | "hung"
  /** Stopped: the monitor could not be started or refused. */
  | "start-failed"
  /** Stopped: its monitor was gone when a new daemon looked for it. */
  | "lost";

/** One virtual machine of a release. */
export interface Instance {
  readonly id: string;
  readonly app: string;
  readonly release: number;
  readonly state: InstanceState;
  readonly reason: InstanceReason;
  readonly start: StartKind;
  readonly pid: number | null;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly readyAt: number | null;
  readonly stoppedAt: number | null;
  /** Exit status or signal of the program, in words. */
  readonly outcome: string | null;
  /** Requests that it is answering now. */
  readonly inFlight: number;
}

/** How many instances an app has, and when. */
export interface Scaling {
  readonly min: number;
  readonly max: number;
  /** Requests that one instance answers at a time; more wait for another one. */
  readonly concurrency: number;
  /** Requests that each is to have on average; above, another is started ahead. null: 0.7 of `concurrency`. */
  readonly target: number | null;
  /** Requests that those awake are to have room for beyond what they have. */
  readonly burst: number;
  /** Milliseconds over which the average is taken. */
  readonly windowMs: number;
  /** The same for a sudden load: if this average asks for twice as many as there are, they are started, and kept. */
  readonly panicWindowMs: number;
  /** Milliseconds without a request after which an instance sleeps. */
  readonly idleMs: number;
}

/** What an app may reach outside. */
export interface NetworkPolicy {
  /** CIDR ranges and names (`*.example.com`), each with a port if one follows a colon; null: as its image says. */
  readonly allow: readonly string[] | null;
}

/** What an app is given and how it is reached; changes at once, without a release. */
export interface AppSettings {
  readonly scaling: Scaling;
  /** Host names beside the app's own, each perhaps with a path below which requests are the app's. */
  readonly domains: readonly string[];
  /** Port of the host that leads to the app as it is, for what does not speak HTTP. */
  readonly tcp: number | null;
  readonly network: NetworkPolicy;
  /** How long an instance may take to listen. */
  readonly startTimeoutMs: number;
  /** How long the app may take to begin an answer. */
  readonly requestTimeoutMs: number;
  /** Bytes that the body of a request may have; null: any number. */
  readonly bodyLimit: number | null;
  /** How long requests may go on when an instance is to stop. */
  readonly drainTimeoutMs: number;
  /**
   * After how long without traffic an open WebSocket or TCP connection no longer keeps
   * the app awake, and is closed when it sleeps; null: it keeps it awake as long as it is open.
   */
  readonly connectionIdleMs: number | null;
  /**
   * Connections that no longer keep the app awake stay open while it sleeps, and it goes on with
   * them, and with all that it had in memory. False: they are closed, and the next one finds
   * the app as it was when its release was frozen.
   */
  readonly keepConnections: boolean;
}

/** Some of the fields; what is absent stays. */
export type Change<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** Settings to change; what is absent stays. */
export interface AppSettingsChange {
  readonly scaling?: Change<Scaling> | undefined;
  readonly domains?: readonly string[] | undefined;
  readonly tcp?: number | null | undefined;
  readonly network?: NetworkPolicy | undefined;
  readonly startTimeoutMs?: number | undefined;
  readonly requestTimeoutMs?: number | undefined;
  readonly bodyLimit?: number | null | undefined;
  readonly drainTimeoutMs?: number | undefined;
  readonly connectionIdleMs?: number | null | undefined;
  readonly keepConnections?: boolean | undefined;
}

/** A part of the requests that goes to another release. */
export interface Canary {
  readonly release: number;
  readonly percent: number;
}

/** An app: a name, and the release that answers under it. */
export interface App {
  readonly name: string;
  readonly tenant: string;
  /** The project of the tenant that it belongs to. */
  readonly project: string;
  readonly url: string;
  readonly createdAt: number;
  /** The release that gets the requests. */
  readonly live: number | null;
  readonly canary: Canary | null;
  readonly settings: AppSettings;
  /** Instances by state, the sleeping app has none. */
  readonly instances: { readonly starting: number; readonly ready: number; readonly draining: number };
}

/** What a release is beside its image. */
export interface ReleaseConfig {
  readonly env: Readonly<Record<string, string>>;
  /** Names of secrets, each with the version that the release gets. */
  readonly secrets: Readonly<Record<string, number>>;
  readonly args: readonly string[] | null;
  readonly cwd: string | null;
  /** Bytes; null: as the image says. */
  readonly memory: number | null;
  /** Port of the guest; null: the first that it listens on. */
  readonly port: number | null;
  /** Path that must answer below 500; null: listening is enough. */
  readonly health: string | null;
  /** What makes an instance ready: that it listens, or that it says so besides, by `ready()` of the SDK. */
  readonly ready: "listen" | "signal";
  /** Whether a snapshot is taken of it, so that it wakes from there. */
  readonly snapshot: boolean;
}

/** Whether a release may get requests. */
export type ReleaseState = "created" | "ready" | "failed";

/** An image with its configuration: numbered, and never changed. */
export interface Release {
  readonly app: string;
  readonly number: number;
  /** Digest of the image. */
  readonly image: string;
  readonly imageName: string;
  /** Bytes of memory that an instance has. */
  readonly memory: number;
  readonly config: ReleaseConfig;
  readonly state: ReleaseState;
  readonly createdAt: number;
  readonly live: boolean;
  /** Where this release alone can be tried. */
  readonly previewUrl: string;
  /** What it was made by: `deploy`, `env`, `secret`. */
  readonly cause: string;
}

/** Steps of a rollout, in order, and its ends. */
export type DeploymentState =
  | "created"
  | "starting"
  | "checking"
  | "freezing"
  | "switching"
  | "draining"
  | "live"
  | "failed";

/** One rollout: a long-running operation. */
export interface Deployment {
  readonly id: string;
  readonly app: string;
  readonly release: number;
  readonly state: DeploymentState;
  /** Why it failed; null otherwise. */
  readonly problem: { readonly code: string; readonly message: string; readonly next: string } | null;
  readonly createdAt: number;
  readonly finishedAt: number | null;
  readonly url: string;
}

/** Something that happened. */
export interface Event {
  readonly seq: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly kind: string;
  readonly app: string | null;
  readonly release: number | null;
  readonly instance: string | null;
  readonly details: Readonly<Record<string, string | number | boolean | null>>;
}

/** A line that an instance wrote, or the mark of lines that were lost. */
export interface LogLine {
  readonly seq: number;
  readonly time: number;
  readonly app: string;
  readonly release: number;
  readonly instance: string;
  readonly text: string;
  /** Lines (or bytes) that are missing here; 0 for an ordinary line. */
  readonly lost: number;
}

/** What is known of an instance that ended as nobody had asked. */
export interface Crash {
  /** The instance. */
  readonly id: string;
  readonly app: string;
  readonly release: number;
  readonly time: number;
  readonly reason: InstanceReason;
  /** Signal, exit status or what the monitor said. */
  readonly outcome: string;
  /** Its last lines: of a crash, with the stack in symbols and the last system calls. */
  readonly lines: readonly string[];
}

/** What a token may do. */
export type Role = "viewer" | "deployer" | "admin" | "operator";

/** A token without its secret. */
export interface Token {
  readonly id: string;
  readonly name: string;
  readonly tenant: string;
  /** It may reach the apps of this project alone; null: of all of the tenant's. */
  readonly project: string | null;
  readonly role: Role;
  readonly createdAt: number;
}

/** A new token; the only time that its secret is shown. */
export interface NewToken extends Token {
  readonly secret: string;
}

/** What a tenant may use at a time; null: no limit. */
export interface Quotas {
  readonly apps: number | null;
  readonly instances: number | null;
  /** Bytes of memory that the guests of all instances may have. */
  readonly memory: number | null;
  /** Percent of one processor, where the host lets the daemon limit it. */
  readonly cpu: number | null;
  /** Bytes of images, snapshots and logs. */
  readonly storage: number | null;
  readonly wakesPerMinute: number | null;
  readonly requestsPerMinute: number | null;
}

/** Somebody whose apps are apart from those of others. */
export interface Tenant {
  readonly name: string;
  readonly quotas: Quotas;
  /** Ports of the host that its apps may listen on; null: none. */
  readonly ports: PortRange | null;
  readonly createdAt: number;
}

/** Ports from one to another, both included. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** A host name that is a tenant's, with all below it. */
export interface Domain {
  readonly name: string;
  readonly tenant: string;
  /** By a TXT record, or by an operator's word. */
  readonly how: "proved" | "granted";
  readonly createdAt: number;
}

/** A part of a tenant's apps, which a token may be limited to. */
export interface Project {
  readonly name: string;
  readonly tenant: string;
  readonly createdAt: number;
}

/** A value of a feature flag. */
export type FlagValue = boolean | number | string;

/** A feature flag: its variants, and which one is given. */
export interface Flag {
  readonly key: string;
  readonly enabled: boolean;
  readonly variants: Readonly<Record<string, FlagValue>>;
  /** The variant that is given when the flag is on. */
  readonly variant: string;
  readonly updatedAt: number;
}

/** The daemon itself. */
export interface Status {
  readonly version: string;
  /** Its process and the folder of its state; told to operators alone. */
  readonly pid: number | null;
  readonly home: string | null;
  readonly startedAt: number;
  readonly gateway: string;
  /** Apps and instances that whoever asks may see. */
  readonly apps: number;
  readonly instances: number;
}

/** The development authority, which signs certificates when HTTPS has none of its own. */
export interface Authority {
  /** The domain that it may sign for. */
  readonly domain: string;
  /** What clients have to trust, PEM. */
  readonly certificate: string;
  /** SHA-256, as browsers show it. */
  readonly fingerprint: string;
}

/** A number of the daemon, as Prometheus has it. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  /** `counter`, `gauge` or `histogram`. */
  readonly type: string;
  /** Of a histogram, their names end with `_bucket`, `_sum` and `_count`. */
  readonly values: readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly value: number;
  }[];
}

/** What went wrong with an evaluation, as OFREP tells it. */
export interface EvaluationError {
  /** What was asked for, if it was one flag. */
  readonly key?: string | undefined;
  readonly errorCode: "FLAG_NOT_FOUND" | "PARSE_ERROR" | "GENERAL";
  readonly errorDetails: string;
}

/** A part of a list. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Give it as `after` to get what follows; null at the end. */
  readonly next: string | null;
}

/** How the API says what went wrong. */
export interface ApiError {
  readonly error: { readonly code: string; readonly message: string; readonly next: string };
}
