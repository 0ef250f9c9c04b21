/**
 * The conversation with the machine: /dev/spore. The event loop hears by fs.watch that
 * there is something to read, and this thread waits in a read of it while the copy is
 * made. So the copy falls between two turns of the event loop, and what comes after is
 * dealt with before any other code of this thread runs.
 *
 * Nothing here is shared with the app's streams: V8 would drop what it has optimised for
 * their hottest functions, in every machine that is made from the copy.
 */

import { fstatSync, openSync, readSync, watch, writeSync } from "node:fs";
import type { RestoreInfo } from "../lifecycle.ts";

const DEVICE = "/dev/spore";

/** A line that was read. */
interface Message {
  readonly event: "state" | "suspend" | "park" | "resume" | "restore";
  readonly deadlineMs: number;
  readonly generation: number;
  readonly sleptMs: number;
  readonly instance: string;
  readonly seed: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Who deals with what happens. */
export interface Listener {
  /** A freeze is coming; it waits for the promise, if there is one. */
  suspend(deadline: Date): Promise<unknown> | undefined;
  /**
   * A copy is about to be made. What `restored` will need is used now: code that V8 has
   * dropped, because nothing called it for long, would be compiled again in every restore.
   */
  rehearse(seed: string): void;
  /** This machine was made from a copy. `seed` is for this thread of it alone. */
  restored(info: RestoreInfo, env: Readonly<Record<string, string>>, seed: string): void;
  /** The machine that was frozen runs on. */
  resumed(): void;
}

/** The conversation. */
export class Channel {
  readonly #file: number;
  readonly #buffer: Buffer = Buffer.allocUnsafe(16 << 10);
  /** The first line, with all that a later one has. */
  readonly #state: string;
  #unread = "";
  /** Which machine this is. */
  info: RestoreInfo;

  constructor(file: number) {
    this.#file = file;
    this.#state = this.#nextLine();
    this.info = infoOf(messageOf(this.#state), false);
  }

  /** Gives a command. */
  say(command: string): void {
    writeSync(this.#file, `${command}\n`);
  }

  /** Waits for news from now on, without keeping the process alive. */
  listen(listener: Listener): void {
    watch(DEVICE, { persistent: false }, () => this.#look(listener));
    this.say("park on");
    // What was said before somebody watched.
    this.#look(listener);
  }

  /** Deals with what was said: several lines, or none if it was said to other threads. */
  #look(listener: Listener): void {
    let goOn = this.#hasNews();
    while (goOn) {
      const parked = this.#hear(listener);
      // Whatever was said after the wait is news of its own: looking costs every restore.
      goOn = parked ? this.#unread !== "" : this.#hasNews();
    }
  }

  #hasNews(): boolean {
    return this.#unread !== "" || fstatSync(this.#file).size > 0;
  }

  /** Answers whether it has waited for a freeze. */
  #hear(listener: Listener): boolean {
    const message = messageOf(this.#nextLine());
    switch (message.event) {
      case "suspend":
        void listener.suspend(new Date(Date.now() + message.deadlineMs))?.then(() => this.say("suspended"));
        break;
      case "park": {
        listener.rehearse(restoreOf(messageOf(this.#state)).seed);
        // Waits until the freeze is over.
        this.#hear(listener);
        return true;
      }
      case "resume":
        listener.resumed();
        break;
      case "restore": {
        const { info, env, seed } = restoreOf(message);
        this.info = info;
        listener.restored(info, env, seed);
        break;
      }
      case "state":
        break;
    }
    return false;
  }

  /** The next line; waits for it. */
  #nextLine(): string {
    for (;;) {
      const end = this.#unread.indexOf("\n");
      if (end >= 0) {
        const line = this.#unread.slice(0, end);
        this.#unread = this.#unread.slice(end + 1);
        return line;
      }
      this.#unread += this.#read();
    }
  }

  #read(): string {
    try {
      const count = readSync(this.#file, this.#buffer);
      // Whole lines only: a character may be cut in two.
      if (count > 0 && this.#buffer[count - 1] === 10) return this.#buffer.toString("utf8", 0, count);
      return this.#readToEndOfLine(Buffer.from(this.#buffer.subarray(0, count)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EINTR") return "";
      throw error;
    }
  }

  /** The rest of a line that is longer than the buffer. */
  #readToEndOfLine(start: Buffer): string {
    let line = start;
    while (line.at(-1) !== 10) {
      const count = readSync(this.#file, this.#buffer);
      line = Buffer.concat([line, this.#buffer.subarray(0, count)]);
    }
    return line.toString("utf8");
  }
}

function messageOf(line: string): Message {
  return JSON.parse(line) as Message;
}

function restoreOf(message: Message): { info: RestoreInfo; env: Message["env"]; seed: string } {
  return { info: infoOf(message, true), env: message.env, seed: message.seed };
}

function infoOf({ generation, sleptMs, instance }: Message, restored: boolean): RestoreInfo {
  return { generation, sleptMs, instance, restored: restored || generation > 0 };
}

/** null where the machine is not one that may be frozen. */
export function openChannel(): Channel | null {
  let file: number;
  try {
    file = openSync(DEVICE, "r+");
  } catch {
    return null;
  }
  return new Channel(file);
}
