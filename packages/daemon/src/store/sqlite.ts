/** The store in an SQLite file, held by one process at a time. */

import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Event } from "@spore/api";
import { sporeError } from "@spore/errors";
import type { EventRange, NewEvent, Range, Records, Store } from "./types.ts";

/** Version of the tables. */
const VERSION = 2;
/** What every request and every wake asks for is kept at hand: parsed, and so many of them. */
const AT_HAND: ReadonlySet<keyof Records> = new Set(["apps", "releases"]);
const AT_HAND_LIMIT = 4000;
/** Events are kept up to so many. */
const EVENTS_KEPT = 100_000;

const TABLES = `
  CREATE TABLE IF NOT EXISTS records (
    bucket TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (bucket, key)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, tenant TEXT, app TEXT, value TEXT NOT NULL,
    project TEXT
  );
  CREATE INDEX IF NOT EXISTS events_by_app ON events (app, seq);
`;

/** Opens the store. Throws SPORE_DAEMON_RUNNING if another process holds it. */
export function openSqlite(file: string): Store {
  const database = new DatabaseSync(file, { timeout: 0 });
  try {
    // The lock is the process's: it goes with it, however it ends.
    database.exec("PRAGMA locking_mode = EXCLUSIVE");
    database.exec("PRAGMA journal_mode = WAL");
    // A commit survives the process at once and the machine after `durable`.
    database.exec("PRAGMA synchronous = NORMAL");
    database.exec("BEGIN EXCLUSIVE; COMMIT");
    const { user_version: version } = database.prepare("PRAGMA user_version").get() as {
      readonly user_version: number;
    };
    if (version > VERSION) {
      throw sporeError("SPORE_STATE", {
        file,
        problem: `it has version ${version}, this Spore reads ${VERSION}`,
      });
    }
    if (version === 1) database.exec("ALTER TABLE events ADD COLUMN project TEXT");
    database.exec(TABLES);
    database.exec(`PRAGMA user_version = ${VERSION}`);
  } catch (thrown) {
    database.close();
    throw asStateError(thrown, file);
  }
  return new SqliteStore(database, file);
}

function asStateError(thrown: unknown, file: string): unknown {
  const code = (thrown as { readonly errcode?: number }).errcode ?? 0;
  // SQLITE_BUSY and its kin.
  if ((code & 0xff) === 5) return sporeError("SPORE_DAEMON_RUNNING", { file }, { cause: thrown });
  if (code === 0) return thrown;
  const problem = thrown instanceof Error ? thrown.message : String(thrown);
  return sporeError("SPORE_STATE", { file, problem }, { cause: thrown });
}

class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #file: string;
  readonly #get: StatementSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #list: StatementSync;
  readonly #append: StatementSync;
  readonly #events: StatementSync;
  readonly #forget: StatementSync;
  readonly #atHand = new Map<string, unknown>();
  #depth = 0;
  /** To be done after the commit. */
  #after: (() => void)[] = [];

  constructor(database: DatabaseSync, file: string) {
    this.#database = database;
    this.#file = file;
    const prepare = (sql: string): StatementSync => database.prepare(sql);
    this.#get = prepare("SELECT value FROM records WHERE bucket = ? AND key = ?");
    this.#put = prepare(
      "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value",
    );
    this.#delete = prepare("DELETE FROM records WHERE bucket = ? AND key = ?");
    this.#list = prepare(
      "SELECT value FROM records WHERE bucket = ? AND key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
    );
    this.#append = prepare("INSERT INTO events (time, tenant, project, app, value) VALUES (?, ?, ?, ?, ?)");
    this.#events = prepare(
      `SELECT seq, value FROM events WHERE seq > :after AND (:app IS NULL OR app = :app)
       AND (:tenant IS NULL OR tenant = :tenant)
       AND (:project IS NULL OR project = :project) ORDER BY seq LIMIT :limit`,
    );
    this.#forget = prepare("DELETE FROM events WHERE seq <= ?");
  }

  get<B extends keyof Records>(bucket: B, key: string): Records[B] | null {
    if (!AT_HAND.has(bucket)) return this.#read(bucket, key);
    const name = `${bucket} ${key}`;
    const known = this.#atHand.get(name);
    if (known !== undefined) return known as Records[B];
    const found = this.#read(bucket, key);
    if (found === null) return null;
    if (this.#atHand.size >= AT_HAND_LIMIT) this.#atHand.clear();
    this.#atHand.set(name, found);
    return found;
  }

  #read<B extends keyof Records>(bucket: B, key: string): Records[B] | null {
    const row = this.#get.get(bucket, key) as { readonly value: string } | undefined;
    return row === undefined ? null : (JSON.parse(row.value) as Records[B]);
  }

  put<B extends keyof Records>(bucket: B, key: string, value: Records[B]): void {
    this.#atHand.delete(`${bucket} ${key}`);
    this.#write(() => this.#put.run(bucket, key, JSON.stringify(value)));
  }

  delete(bucket: keyof Records, key: string): void {
    this.#atHand.delete(`${bucket} ${key}`);
    this.#write(() => this.#delete.run(bucket, key));
  }

  list<B extends keyof Records>(bucket: B, range: Range = {}): readonly Records[B][] {
    const { prefix = "", after = null, limit = -1 } = range;
    // Keys are printable ASCII: nothing sorts behind DEL.
    const rows = this.#list.all(bucket, after ?? "", prefix, `${prefix}\x7f`, limit);
    return rows.map((row) => JSON.parse((row as { readonly value: string }).value) as Records[B]);
  }

  append(event: NewEvent): Event {
    const { tenant, project, ...rest } = event;
    const text = JSON.stringify(rest);
    const { lastInsertRowid } = this.#write(() =>
      this.#append.run(event.time, tenant, project, event.app, text),
    );
    const seq = Number(lastInsertRowid);
    if (seq % 1000 === 0) this.#write(() => this.#forget.run(seq - EVENTS_KEPT));
    return { seq, ...rest };
  }

  /** A disk that is full has a code of its own. */
  #write<T>(work: () => T): T {
    try {
      return work();
    } catch (thrown) {
      throw asStateError(thrown, this.#file);
    }
  }

  events(range: EventRange): readonly Event[] {
    const { after, app = null, tenant = null, project = null, limit } = range;
    const rows = this.#events.all({ after, app, tenant, project, limit }) as unknown as readonly {
      readonly seq: number;
      readonly value: string;
    }[];
    return rows.map(({ seq, value }) => ({ seq, ...(JSON.parse(value) as Omit<Event, "seq">) }));
  }

  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.#depth += 1;
    this.#database.exec("BEGIN IMMEDIATE");
    let result: T;
    try {
      result = work();
      this.#write(() => this.#database.exec("COMMIT"));
    } catch (thrown) {
      this.#after = [];
      this.#atHand.clear();
      // A full disk has rolled back already.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw thrown;
    } finally {
      this.#depth -= 1;
    }
    for (const each of this.#after.splice(0)) each();
    return result;
  }

  after(work: () => void): void {
    if (this.#depth === 0) work();
    else this.#after.push(work);
  }

  durable(): void {
    this.after(() => this.#write(() => this.#database.exec("PRAGMA wal_checkpoint(PASSIVE)")));
  }

  close(): void {
    this.#database.close();
  }
}
