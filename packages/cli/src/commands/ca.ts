/** `spore ca`. */

import { type Command, command } from "../command.ts";
import { json } from "./cloud-options.ts";

/** Prints the development authority. */
export const ca: Command = command({
  name: "ca",
  summary: "Print the certificate of the development authority, for clients to trust.",
  about: [
    "It signs for HTTPS when the daemon has no certificate of its own, and can sign for the daemon's domain and the loopback alone. Its key stays with the daemon.",
  ],
  arguments: [],
  options: { json },
  examples: [
    { line: "spore ca > spore-ca.pem", doc: "Then: curl --cacert spore-ca.pem https://hello.localhost:8443" },
    { line: "NODE_EXTRA_CA_CERTS=spore-ca.pem node client.js", doc: "Let Node.js trust it." },
  ],
  handle: async ({ options }, context) => (await import("../cloud/ca.ts")).ca(options, context),
});
