/** Where the parts of this checkout are. */

import { join, resolve } from "node:path";

/** The root of the checkout. */
export const root: string = resolve(import.meta.dirname, "../../..");

/** The archive of the library OS. */
export const kernelPath: string = join(root, "build/kernel.a");
