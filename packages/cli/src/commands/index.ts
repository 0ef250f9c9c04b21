/** All commands, in the order of the help. */

import type { Command } from "../command.ts";
import { bench } from "./bench.ts";
import { build } from "./build.ts";
import { ca } from "./ca.ts";
import { env, flag, promote, releases, rm, rollback, secret, stop } from "./change.ts";
import { completion } from "./completion.ts";
import { crashReport } from "./crash-report.ts";
import { deploy } from "./deploy.ts";
import { doctor } from "./doctor.ts";
import { explain } from "./explain.ts";
import { fork } from "./fork.ts";
import { help } from "./help.ts";
import { image } from "./image.ts";
import { run } from "./run.ts";
import { crash, events, inspect, logs, metrics, ps } from "./see.ts";
import { shells } from "./shells.ts";
import { snapshot } from "./snapshot.ts";
import { domain, project, tenant, token } from "./tenancy.ts";
import { down, up } from "./up.ts";

/** All commands, in the order of the help. */
export const commands: readonly Command[] = [
  run,
  build,
  explain,
  image,
  snapshot,
  fork,
  shells,
  up,
  deploy,
  ps,
  logs,
  events,
  crash,
  inspect,
  metrics,
  releases,
  rollback,
  promote,
  env,
  secret,
  flag,
  stop,
  rm,
  token,
  project,
  domain,
  tenant,
  ca,
  down,
  doctor,
  bench,
  completion,
  help,
  crashReport,
];
