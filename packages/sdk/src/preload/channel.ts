/**
 * The conversation with the machine: /dev/spore, opened twice. On one descriptor
 * the event loop waits and hears that there is something; the other one speaks, and
 * this thread waits in a read of it while the copy is made. So the copy falls between
 * two turns of the event loop, and what comes after is dealt with before any other
 * code of this thread runs.
 */

import { openSync, readSync, writeSync } from "node:fs";
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
  /** A freeze is coming; it waits for the promise. */
  suspend(deadline: Date): Promise<void>;
  /** This machine was made from a copy. `seed` is for this thread of it alone. */
  restored(info: RestoreInfo, env: Readonly<Record<string, string>>, seed: string): void;
  /** The machine that was frozen runs on. */
  resumed(): void;
}

/** The conversation. */
export class Channel {
  readonly #speaking: number;
  readonly #buffer: Buffer = Buffer.allocUnsafe(16 << 10);
  #unread = "";
  /** How many ends of a freeze were heard of, and how many dealt with. */
  #heard = 0;
  #dealtWith = 0;
  #listener: Listener | undefined;
  /** Which machine this is. */
  info: RestoreInfo;

  constructor(speaking: number) {
    this.#speaking = speaking;
    this.info = infoOf(this.#read(), false);
    this.say("park on");
  }

  /** Gives a command. */
  say(command: string): void {
    writeSync(this.#speaking, `${command}\n`);
  }

  /** Waits for news from now on, without keeping the process alive. */
  listen(listener: Listener): void {
    this.#listener = listener;
    // Loaded here: where nothing can be frozen, nobody pays for it.
    const { Socket } = require("node:net") as typeof import("node:net");
    const socket = new Socket({ fd: openSync(DEVICE, "r"), readable: true, writable: false });
    let begun = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      const lines = (begun + text).split("\n");
      begun = lines.pop() ?? "";
      for (const line of lines) this.#hear(JSON.parse(line) as Message);
    });
    socket.unref();
  }

  #hear(message: Message): void {
    switch (message.event) {
      case "suspend": {
        const deadline = new Date(Date.now() + message.deadlineMs);
        void this.#listener?.suspend(deadline).then(() => this.say("suspended"));
        break;
      }
      case "park":
        // Does not return before the freeze is over.
        this.#dealWithNext();
        break;
      case "resume":
      case "restore":
        this.#heard++;
        // Not parked in time: what the other descriptor has to say is there already.
        while (this.#dealtWith < this.#heard) this.#dealWithNext();
        break;
      case "state":
        break;
    }
  }

  /** Waits for the end of a freeze and deals with it. */
  #dealWithNext(): void {
    let message = this.#read();
    while (message.event !== "resume" && message.event !== "restore") message = this.#read();
    this.#dealtWith++;
    if (message.event === "resume") {
      this.#listener?.resumed();
      return;
    }
    this.info = infoOf(message, true);
    this.#listener?.restored(this.info, message.env, message.seed);
  }

  /** The next line; waits for it. */
  #read(): Message {
    for (;;) {
      const end = this.#unread.indexOf("\n");
      if (end >= 0) {
        const line = this.#unread.slice(0, end);
        this.#unread = this.#unread.slice(end + 1);
        return JSON.parse(line) as Message;
      }
      this.#unread += this.#readSome();
    }
  }

  #readSome(): string {
    try {
      const count = readSync(this.#speaking, this.#buffer);
      // Whole lines only: a character may be cut in two.
      if (count > 0 && this.#buffer[count - 1] === 10) return this.#buffer.toString("utf8", 0, count);
      return this.#readLine(Buffer.from(this.#buffer.subarray(0, count)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EINTR") return "";
      throw error;
    }
  }

  /** The rest of a line that is longer than the buffer. */
  #readLine(start: Buffer): string {
    let line = start;
    while (line.at(-1) !== 10) {
      const count = readSync(this.#speaking, this.#buffer);
      line = Buffer.concat([line, this.#buffer.subarray(0, count)]);
    }
    return line.toString("utf8");
  }
}

function infoOf({ generation, sleptMs, instance }: Message, restored: boolean): RestoreInfo {
  return { generation, sleptMs, instance, restored: restored || generation > 0 };
}

/** null where the machine is not one that may be frozen. */
export function openChannel(): Channel | null {
  let speaking: number;
  try {
    speaking = openSync(DEVICE, "r+");
  } catch {
    return null;
  }
  return new Channel(speaking);
}
