/**
 * The state of the daemon behind one narrow interface: records by bucket and
 * key, and a log of events. SQLite keeps it on one host; a replicated key-value
 * store can keep it on many.
 */

import type {
  AppSettings,
  Canary,
  Crash,
  DeploymentState,
  Domain,
  Event,
  FlagValue,
  InstanceReason,
  InstanceState,
  PortRange,
  Project,
  Quotas,
  Release,
  Role,
  StartKind,
} from "@spore/api";

/** What is kept of an app. */
export interface AppRecord {
  readonly name: string;
  readonly tenant: string;
  readonly project: string;
  readonly createdAt: number;
  readonly live: number | null;
  readonly canary: Canary | null;
  /** The number that the last release got. */
  readonly lastRelease: number;
  readonly settings: AppSettings;
}

/** What is kept of a release; the rest of what the API says follows from its app. */
export type ReleaseRecord = Omit<Release, "live" | "previewUrl">;

/** What is kept of a rollout. */
export interface DeploymentRecord {
  readonly id: string;
  readonly app: string;
  readonly release: number;
  /** Percent of requests that the release gets; null: all of them. */
  readonly canary: number | null;
  readonly state: DeploymentState;
  readonly problem: { readonly code: string; readonly message: string; readonly next: string } | null;
  readonly createdAt: number;
  readonly finishedAt: number | null;
}

/** What is kept of an instance. */
export interface InstanceRecord {
  readonly id: string;
  readonly app: string;
  readonly release: number;
  readonly state: InstanceState;
  readonly reason: InstanceReason;
  readonly start: StartKind;
  readonly pid: number | null;
  /** Start time of the process in clock ticks: a number used twice is another process. */
  readonly ticks: string | null;
  readonly createdAt: number;
  readonly readyAt: number | null;
  readonly stoppedAt: number | null;
  readonly outcome: string | null;
}

/** One version of a secret, encrypted. */
export interface SecretRecord {
  readonly app: string;
  readonly name: string;
  readonly version: number;
  /** age, armoured. */
  readonly sealed: string;
}

/** A secret's current version; 0: it was taken away. */
export interface SecretPointer {
  readonly app: string;
  readonly name: string;
  readonly current: number;
  readonly last: number;
}

/** What is kept of a flag. */
export interface FlagRecord {
  readonly app: string;
  readonly key: string;
  readonly enabled: boolean;
  readonly variants: Readonly<Record<string, FlagValue>>;
  readonly variant: string;
  readonly updatedAt: number;
}

/** What is kept of a token: nothing that gives its secret away. */
export interface TokenRecord {
  readonly id: string;
  readonly name: string;
  readonly tenant: string;
  readonly project: string | null;
  readonly role: Role;
  readonly createdAt: number;
  readonly salt: string;
  readonly hash: string;
}

/** What is kept of a tenant. */
export interface TenantRecord {
  readonly name: string;
  readonly quotas: Quotas;
  readonly ports: PortRange | null;
  readonly createdAt: number;
}

/** A tenant has uploaded a blob. */
export interface UploadRecord {
  readonly tenant: string;
  readonly digest: string;
}

/** The answer of a call that had an idempotency key. */
export interface AnswerRecord {
  readonly key: string;
  /** What was asked, so that another question under the same key is noticed. */
  readonly question: string;
  readonly answer: unknown;
  readonly time: number;
}

/** Buckets and what they hold. Keys: see the functions at the end. */
export interface Records {
  readonly apps: AppRecord;
  readonly releases: ReleaseRecord;
  readonly deployments: DeploymentRecord;
  readonly instances: InstanceRecord;
  readonly secrets: SecretRecord;
  readonly secretPointers: SecretPointer;
  readonly flags: FlagRecord;
  readonly tokens: TokenRecord;
  readonly tenants: TenantRecord;
  readonly answers: AnswerRecord;
  readonly crashes: Crash;
  readonly uploads: UploadRecord;
  readonly projects: Project;
  readonly domains: Domain;
}

/** A part of a bucket, in the order of its keys. */
export interface Range {
  readonly prefix?: string;
  /** Only keys that come after this one. */
  readonly after?: string | null;
  readonly limit?: number;
}

/** Which events. */
export interface EventRange {
  readonly after: number;
  readonly app?: string | null;
  /** Those of a tenant, or of one of its projects alone; absent: all. */
  readonly tenant?: string | null;
  readonly project?: string | null;
  readonly limit: number;
}

/** An event before it has a number. */
export type NewEvent = Omit<Event, "seq"> & {
  readonly tenant: string | null;
  readonly project: string | null;
};

/** Keeps state. Calls answer at once; what was put is found again after a crash of the process. */
export interface Store {
  get<B extends keyof Records>(bucket: B, key: string): Records[B] | null;
  put<B extends keyof Records>(bucket: B, key: string, value: Records[B]): void;
  delete(bucket: keyof Records, key: string): void;
  list<B extends keyof Records>(bucket: B, range?: Range): readonly Records[B][];
  append(event: NewEvent): Event;
  events(range: EventRange): readonly Event[];
  /** All of what `work` does, or nothing. */
  transaction<T>(work: () => T): T;
  /** Does `work` once the transaction under way has been committed; at once if there is none. */
  after(work: () => void): void;
  /** What was put so far survives a crash of the machine; within a transaction, once it has been committed. */
  durable(): void;
  close(): void;
}

/** A number as a part of a key that sorts. */
export function numberKey(number: number): string {
  return String(number).padStart(10, "0");
}

/** Key of a release. */
export function releaseKey(app: string, number: number): string {
  return `${app}/${numberKey(number)}`;
}

/** Key of a version of a secret. */
export function secretKey(app: string, name: string, version: number): string {
  return `${app}/${name}/${numberKey(version)}`;
}

/** Key of what an app has by name: flags, secret pointers. */
export function namedKey(app: string, name: string): string {
  return `${app}/${name}`;
}
