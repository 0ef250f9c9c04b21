/** `spore doctor`. */

import { type Command, command, flag } from "../command.ts";

/** Looks at the machine and says what is missing. */
export const doctor: Command = command({
  name: "doctor",
  summary: "Check that this machine has what Spore needs, and say what to do about what is missing.",
  about: ["The exit status is 69 if something that is needed is missing, 0 otherwise."],
  arguments: [],
  options: {
    production: flag({ doc: "Look at what a machine with several tenants needs as well." }),
    json: flag({ doc: "Print the findings as one JSON object." }),
  },
  examples: [
    { line: "spore doctor", doc: "Print a table of what was found." },
    { line: "spore doctor --production", doc: "Say which limits and walls this host does not give." },
  ],
  handle: async ({ options }, context) => (await import("../doctor/doctor.ts")).runDoctor(options, context),
});
