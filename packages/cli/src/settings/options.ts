/** The options that `run` and `build` share, and those that only `run` has. */

import type { Publish } from "@spore/image";
import type { PiecesMode } from "@spore/needs";
import { type Flag, flag, type List, list, type Value, value } from "../command.ts";
import {
  readGuestPath,
  readMemory,
  readNode,
  readPieces,
  readPort,
  readPublish,
  readText,
  readVariable,
} from "./values.ts";

/** Options that decide what an image holds or which defaults it keeps. */
export const imageOptions: {
  readonly publish: List<Publish>;
  readonly env: List<readonly [string, string]>;
  readonly "env-file": Value<string>;
  readonly memory: Value<number>;
  readonly include: List<string>;
  readonly cwd: Value<string>;
  readonly node: Value<22 | 24 | 26>;
  readonly pieces: Value<PiecesMode>;
  readonly recording: Value<string>;
  readonly piece: List<string>;
  readonly without: List<string>;
  readonly explain: Flag;
  readonly "no-patch": Flag;
} = {
  publish: list({
    short: "p",
    value: "[ADDR:]HOST:GUEST[/udp]",
    doc: "Publish port GUEST of the program at ADDR:HOST (127.0.0.1 without ADDR). HOST 0 picks a free port and says which.",
    otherwise: "every port the program serves, at the same port of 127.0.0.1",
    read: readPublish,
  }),
  env: list({
    short: "e",
    value: "KEY=VALUE",
    doc: "Set an environment variable of the program.",
    read: readVariable,
  }),
  "env-file": value({
    value: "FILE",
    doc: "Read environment variables from FILE, one KEY=VALUE a line; --env wins over it.",
    read: readText,
  }),
  memory: value({
    short: "m",
    value: "SIZE",
    doc: "Memory of the virtual machine, for example 256M or 1G; only what is touched is taken from the host.",
    otherwise: "2G for a project, 512M for a program",
    read: readMemory,
  }),
  include: list({
    value: "HOSTPATH[:GUESTPATH]",
    doc: "Add a file or directory to the image, at GUESTPATH or else at its own path.",
    read: readText,
  }),
  cwd: value({
    value: "DIR",
    doc: "Working directory of the program, an absolute path in the guest.",
    otherwise: "the directory of the app",
    read: readGuestPath,
  }),
  node: value({
    value: "VERSION",
    doc: "Node.js release for a project: 22, 24 or 26.",
    otherwise: "24",
    read: readNode,
  }),
  pieces: value({
    value: "MODE",
    doc: "Which pieces of the library OS the image gets: full, derived from what the app's code can use, or recorded: what it used while `spore build --record` watched it.",
    otherwise: "derived",
    read: readPieces,
  }),
  recording: value({
    value: "FILE",
    doc: "The recording that `--pieces recorded` goes by, and that --record writes.",
    otherwise:
      "spore.recording.json in a project; IMAGE.recording.json when an image of a program is written",
    read: readText,
  }),
  piece: list({
    value: "NAME",
    doc: "Add a piece of the library OS with all that it needs: a feature such as epoll, a service such as socket/unix, file/proc/meminfo or gdb, or a system call.",
    read: readText,
  }),
  without: list({
    value: "NAME",
    doc: "Leave out a piece of the library OS, and what cannot work without it, whoever asks for it.",
    read: readText,
  }),
  explain: flag({ doc: "Print what was detected about the target, and why, to standard error." }),
  "no-patch": flag({ doc: "Leave system-call instructions as they are; each one then traps." }),
};

/** Options of one run. */
export const runOptions: {
  readonly trace: Flag;
  readonly json: Flag;
  readonly quiet: Flag;
  readonly gdb: Value<number>;
  readonly orders: Value<string>;
} = {
  trace: flag({ doc: "Print every system call to standard error, as strace would." }),
  json: flag({
    doc: "Print events to standard output, one JSON object a line (built, booted, listening, exited); the program's own output goes to standard error.",
  }),
  quiet: flag({ short: "q", doc: "Print nothing but errors and what the program itself prints." }),
  gdb: value({
    value: "PORT",
    doc: "Wait for gdb on PORT of 127.0.0.1 before the first instruction.",
    read: readPort,
  }),
  orders: value({
    value: "SOCKET",
    doc: "Take orders on a Unix socket at this path: `spore snapshot --orders SOCKET -o FILE` freezes the program while it runs.",
    read: readText,
  }),
};
