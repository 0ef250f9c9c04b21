/** The API of the daemon: what both sides know. Nothing here needs Node.js. */

export {
  type Client,
  createClient,
  type Input,
  type Result,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from "./client.ts";
export { daemonHome, daemonSocket } from "./home.ts";
export type {
  ApiError,
  App,
  AppSettings,
  AppSettingsChange,
  Canary,
  Change,
  Crash,
  Deployment,
  DeploymentState,
  Domain,
  EvaluationError,
  Event,
  Flag,
  FlagValue,
  Instance,
  InstanceReason,
  InstanceState,
  LogLine,
  Metric,
  NetworkPolicy,
  NewToken,
  Page,
  PortRange,
  Project,
  Quotas,
  Release,
  ReleaseConfig,
  ReleaseState,
  Role,
  Scaling,
  StartKind,
  Status,
  Tenant,
  Token,
} from "./model.ts";
export { openApi } from "./openapi.ts";
export { type AnyRoute, type Call, type Method, permits, type Route, roles } from "./route.ts";
export { type Calls, type Evaluation, type EvaluationRequest, routes } from "./routes.ts";
export { appName, digest } from "./schemas.ts";
