/** HTTP status of each error of the registry. */

import type { ErrorCode } from "@spore/errors";

const statuses: Partial<Readonly<Record<ErrorCode, number>>> = {
  SPORE_API_INVALID: 400,
  SPORE_UNAUTHENTICATED: 401,
  SPORE_FORBIDDEN: 403,
  SPORE_NOT_FOUND: 404,
  SPORE_CONFLICT: 409,
  SPORE_IMAGE_DAMAGED: 422,
  SPORE_IMAGE_FORMAT: 422,
  SPORE_MEMORY_TOO_SMALL: 422,
  SPORE_QUOTA: 429,
  SPORE_START_FAILED: 502,
  SPORE_OUTPUT_WRITE: 507,
  SPORE_STATE: 507,
};

/** The status; what is not named is the daemon's own fault. */
export function statusOf(code: ErrorCode): number {
  return statuses[code] ?? 500;
}
