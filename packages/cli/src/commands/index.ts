/** All commands, in the order of the help. */

import type { Command } from "../command.ts";
import { bench } from "./bench.ts";
import { build } from "./build.ts";
import { crashReport } from "./crash-report.ts";
import { doctor } from "./doctor.ts";
import { fork } from "./fork.ts";
import { help } from "./help.ts";
import { run } from "./run.ts";
import { snapshot } from "./snapshot.ts";

/** All commands, in the order of the help. */
export const commands: readonly Command[] = [run, build, snapshot, fork, doctor, bench, help, crashReport];
