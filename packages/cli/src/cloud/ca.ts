/** What `spore ca` does. */

import type { Context } from "../command.ts";
import { connectDaemon } from "./connection.ts";

/** Carries out `spore ca`. */
export async function ca(flags: { readonly json: boolean }, context: Context): Promise<number> {
  const authority = await connectDaemon(context.env).call("getAuthority");
  context.out(flags.json ? `${JSON.stringify(authority)}\n` : authority.certificate);
  return 0;
}
