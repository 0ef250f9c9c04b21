/** `spore snapshot`. */

import { type Command, command, flag, list, value } from "../command.ts";
import { imageOptions } from "../settings/options.ts";
import { readCount, readText } from "../settings/values.ts";
import { readReadiness, readRequestPath } from "../snapshot/readiness.ts";

/** Freezes a warm program into a file, or says what such a file holds. */
export const snapshot: Command = command({
  name: "snapshot",
  summary: "Freeze a warm program into a file that `spore run` goes on from; inspect or verify such a file.",
  about: [
    "TARGET is what `spore run` takes. It is started, and once it is ready it is frozen: when it listens on its first port, unless --ready says otherwise. The file holds its memory and open sockets; `spore run FILE` goes on from there, as often as wanted.",
    "`spore snapshot inspect FILE` prints what a file holds, `spore snapshot verify FILE` reads all of it and says whether it is whole. With --orders a machine that runs already is frozen, and runs on, or sleeps with --sleep.",
  ],
  arguments: [
    { name: "TARGET", doc: "What to start and freeze; or `inspect` or `verify`.", optional: true },
    { name: "FILE", doc: "The snapshot to inspect or verify.", optional: true },
  ],
  rest: { name: "ARG", doc: "Arguments of the program." },
  options: {
    output: value({ short: "o", value: "FILE", doc: "Snapshot to write (required).", read: readText }),
    ready: value({
      value: "PORT|http:PATH|signal",
      doc: "Freeze once the program listens on PORT, answers a request for PATH with a status below 400, or calls ready() of @spore/sdk.",
      otherwise: "once it listens on any port",
      read: readReadiness,
    }),
    warm: list({
      value: "PATH",
      doc: "Request PATH before the freeze, so that the code behind it is compiled.",
      read: readRequestPath,
    }),
    timeout: value({
      value: "MS",
      doc: "Give up when the program is not ready after MS milliseconds.",
      otherwise: "60000",
      read: readCount,
    }),
    patience: value({
      value: "MS",
      doc: "Give the program MS milliseconds for what it does before a freeze (onSuspend of @spore/sdk). If it holds the machine awake until then, no snapshot is taken.",
      otherwise: "10000",
      read: readCount,
    }),
    orders: value({
      value: "SOCKET",
      doc: "Freeze the machine that was started with `spore run --orders SOCKET`.",
      read: readText,
    }),
    sleep: flag({
      doc: "With --orders: put that machine to sleep instead. Its memory goes to disk, its connections stay, and whatever comes there wakes it.",
    }),
    base: value({
      value: "FILE",
      doc: "Another snapshot in the same folder, of an earlier release or warm-up: what stands there already is not written again, and both files are needed from then on.",
      read: readText,
    }),
    json: flag({ doc: "Print what was done or found as one JSON object." }),
    ...imageOptions,
  },
  examples: [
    {
      line: "spore snapshot examples/hello -o hello.snap --warm /",
      doc: "Freeze a project after one request.",
    },
    {
      line: "spore snapshot . -o app-2.snap --base app-1.snap",
      doc: "Write only what differs from the release before.",
    },
    { line: "spore run hello.snap", doc: "Go on from there." },
    { line: "spore snapshot verify hello.snap", doc: "Check every byte of a snapshot." },
  ],
  handle: async ({ options, words, rest }, context) => {
    const [first, file] = words;
    if (first === "inspect" || first === "verify") {
      return (await import("../snapshot/inspect.ts")).inspect(
        file,
        first === "verify",
        options.json,
        context,
      );
    }
    return (await import("../snapshot/take.ts")).takeSnapshot(options, words, rest, context);
  },
});
