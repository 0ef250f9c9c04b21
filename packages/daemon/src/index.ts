/** The daemon; main.ts starts it as a process. */

export { type Daemon, type DaemonOptions, startDaemon } from "./daemon.ts";
