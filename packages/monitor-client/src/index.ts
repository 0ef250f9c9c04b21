/** The way from a decided run to a running monitor. */

export { writeConfigFile } from "./config-file.ts";
export { exportMemory } from "./export.ts";
export {
  type Frozen,
  freezeRunning,
  Instance,
  type InstanceOptions,
  type MonitorEvent,
  sleepRunning,
  tryOut,
} from "./instance.ts";
export type { Json, JsonObject } from "./json.ts";
export {
  Keeper,
  type KeeperWatch,
  type Listening,
  Shell,
  type WakeTimes,
  type WakeWatch,
  type Wish,
} from "./keeper.ts";
export {
  type Address,
  type BuiltEvent,
  type EventStyle,
  type GuestConfig,
  type GuestRights,
  type LaunchConfig,
  launchConfig,
  type RunConfig,
  type SnapshotConfig,
  type SnapshotIdentity,
} from "./launch-config.ts";
export { becomeMonitor, checkKvm, findMonitor } from "./monitor.ts";
export { findPool, poolSocket, Standby, type StandbyEvent } from "./pool.ts";
export {
  inspectSnapshot,
  isSnapshot,
  type SnapshotFacts,
  type SnapshotHead,
  snapshotHead,
  snapshotNotes,
} from "./snapshot-file.ts";
