/** The errors that users meet. `sporeError(code, values)` makes one; the CLI prints `error.line`. */

export { asSporeError, type ErrorExtras, type ErrorValues, SporeError, sporeError } from "./error.ts";
export { errorReference } from "./reference.ts";
export { type ErrorCode, type ErrorEntry, exitStatuses, type Fault, registry } from "./registry.ts";
