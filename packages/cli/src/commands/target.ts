/** TARGET, which `run` and `build` have in common. */

import type { Argument } from "../command.ts";

/** The argument. */
export const target: Argument = { name: "TARGET", doc: "What to run, see above." };

/** What a target may be. */
export const about: readonly string[] = [
  "TARGET is a directory with a package.json (TypeScript or JavaScript for Node.js), a module of one (server.ts) or by itself, a Linux x86-64 program (static or dynamic, position-independent or not), or an image that `spore build` wrote. A project's entry comes from spore.config.ts, else from package.json, else from a convention (src/index.ts, src/server.ts, index.js and the like); --explain says what was found. Options win over spore.config.ts.",
];
