/** `spore explain`. */

import { type Command, command, flag } from "../command.ts";

/** Says which pieces of the library OS an image has, and why. */
export const explain: Command = command({
  name: "explain",
  summary: "Say which pieces of the library OS are in an image, how large each is and who asked for it.",
  about: [
    "IMAGE is an image that `spore build` wrote, or any target of `spore run`, which is built if need be.",
    "With PIECE, the name of a system call, a service or a feature such as epoll, everything that is known of it: all who asked, by which way, and what it pulled in. With OTHER, another image, what changed from IMAGE to it.",
  ],
  arguments: [
    { name: "IMAGE", doc: "The image." },
    { name: "PIECE|OTHER", doc: "One piece, or an image to compare with.", optional: true },
  ],
  options: { json: flag({ doc: "Print JSON." }) },
  examples: [
    { line: "spore explain hello.spore", doc: "All pieces." },
    { line: "spore explain hello.spore epoll_wait", doc: "Who needs epoll_wait." },
    { line: "spore explain before.spore after.spore", doc: "What an update changed." },
  ],
  handle: async (invocation, context) =>
    (await import("../pieces/explain.ts")).explainImage(invocation, context),
});
