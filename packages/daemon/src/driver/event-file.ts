/** Reads what a monitor writes of its events, one JSON object a line, as it comes. */

import { closeSync, type FSWatcher, openSync, readSync, watch } from "node:fs";

/** A line of the monitor. */
export interface MonitorEvent {
  readonly event: string;
  readonly guestPort?: number;
  readonly url?: string;
  readonly exitCode?: number;
  readonly signal?: string;
  readonly ms?: number;
  readonly message?: string;
  readonly count?: number;
}

/** All files are read through it, one after the other. */
const buffer = Buffer.allocUnsafe(8192);

/** Follows a file of events from its start. */
export class EventFile {
  readonly #fd: number;
  readonly #watcher: FSWatcher;
  readonly #told: (event: MonitorEvent) => void;
  #rest = "";
  #offset = 0;
  #closed = false;

  constructor(path: string, told: (event: MonitorEvent) => void) {
    this.#told = told;
    // A machine that was just woken may not have made it yet.
    this.#fd = openSync(path, "a+", 0o600);
    this.#watcher = watch(path, { persistent: false }, () => this.read());
    this.#watcher.on("error", () => {});
  }

  /** Reads what there is. */
  read(): void {
    while (!this.#closed) {
      const count = readSync(this.#fd, buffer, 0, buffer.length, this.#offset);
      if (count === 0) return;
      this.#offset += count;
      const lines = (this.#rest + buffer.toString("utf8", 0, count)).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#tell(line);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.close();
    closeSync(this.#fd);
  }

  #tell(line: string): void {
    try {
      this.#told(JSON.parse(line) as MonitorEvent);
    } catch (thrown) {
      // A monitor that was killed may have left half a line.
      if (!(thrown instanceof SyntaxError)) throw thrown;
    }
  }
}
