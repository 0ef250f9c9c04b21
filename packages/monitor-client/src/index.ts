/** The way from a decided run to a running monitor. */

export { writeConfigFile } from "./config-file.ts";
export {
  type Address,
  type BuiltEvent,
  type EventStyle,
  type GuestConfig,
  type LaunchConfig,
  launchConfig,
  type RunConfig,
} from "./launch-config.ts";
export { becomeMonitor, checkKvm, findMonitor } from "./monitor.ts";
