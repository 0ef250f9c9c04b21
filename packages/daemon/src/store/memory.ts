/** The store in memory, for tests; the contract of both is in store.test.ts. */

import type { Event } from "@spore/api";
import type { EventRange, NewEvent, Range, Records, Store } from "./types.ts";

/** An empty one. */
export function memoryStore(): Store {
  return new MemoryStore();
}

class MemoryStore implements Store {
  #records = new Map<string, string>();
  #events: (Event & NewEvent)[] = [];
  #seq = 0;
  #open = false;
  #after: (() => void)[] = [];

  get<B extends keyof Records>(bucket: B, key: string): Records[B] | null {
    const text = this.#records.get(`${bucket} ${key}`);
    return text === undefined ? null : (JSON.parse(text) as Records[B]);
  }

  put<B extends keyof Records>(bucket: B, key: string, value: Records[B]): void {
    this.#records.set(`${bucket} ${key}`, JSON.stringify(value));
  }

  delete(bucket: keyof Records, key: string): void {
    this.#records.delete(`${bucket} ${key}`);
  }

  list<B extends keyof Records>(bucket: B, range: Range = {}): readonly Records[B][] {
    const { prefix = "", after = null, limit = Infinity } = range;
    const start = `${bucket} `;
    return [...this.#records]
      .filter(
        ([key]) => key.startsWith(start + prefix) && (after === null || key.slice(start.length) > after),
      )
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .slice(0, limit)
      .map(([, text]) => JSON.parse(text) as Records[B]);
  }

  append(event: NewEvent): Event {
    this.#seq += 1;
    const { tenant: _, project: __, ...rest } = event;
    this.#events.push({ seq: this.#seq, ...event });
    return { seq: this.#seq, ...rest };
  }

  events({ after, app = null, tenant = null, project = null, limit }: EventRange): readonly Event[] {
    return this.#events
      .filter((event) => event.seq > after)
      .filter((event) => (app === null || event.app === app) && (tenant === null || event.tenant === tenant))
      .filter((event) => project === null || event.project === project)
      .slice(0, limit)
      .map(({ tenant: _, project: __, ...event }) => event);
  }

  transaction<T>(work: () => T): T {
    if (this.#open) return work();
    const [records, events, seq] = [new Map(this.#records), [...this.#events], this.#seq];
    this.#open = true;
    let result: T;
    try {
      result = work();
    } catch (thrown) {
      [this.#records, this.#events, this.#seq] = [records, events, seq];
      this.#after = [];
      throw thrown;
    } finally {
      this.#open = false;
    }
    for (const each of this.#after.splice(0)) each();
    return result;
  }

  after(work: () => void): void {
    if (this.#open) this.#after.push(work);
    else work();
  }

  durable(): void {}

  close(): void {}
}
