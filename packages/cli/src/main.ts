/** Where `spore` starts. */

import { processContext } from "./context.ts";
import { dispatch } from "./dispatch.ts";

// Not process.exit(): what was written to a pipe must have left first.
process.exitCode = await dispatch(process.argv.slice(2), processContext());
