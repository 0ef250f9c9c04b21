/** The gateway in front of apps: routes, parks requests while their target wakes, streams. */

export { type Certificates, Gateway, type GatewayOptions } from "./gateway.ts";
export { hostOf } from "./head.ts";
export {
  type Address,
  type Answered,
  type Caller,
  type Finished,
  type Lease,
  Refusal,
  type Router,
  type Started,
  type StartKind,
  type Target,
} from "./target.ts";
export { newSpanId, type Trace } from "./trace.ts";
