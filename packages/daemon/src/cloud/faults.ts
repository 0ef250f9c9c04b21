/** Places where a test ends the process, to see that nothing is lost. */

/** Called at a named place. */
export type FaultPoint = (name: string) => void;

/** Kills the process at the place that SPORE_FAULT names; does nothing without it. */
export function faultPoint(env: Readonly<Record<string, string | undefined>>): FaultPoint {
  const wanted = env["SPORE_FAULT"];
  if (!wanted) return () => {};
  return (name) => {
    // As the kernel would do it: no handler runs, nothing is flushed.
    if (name === wanted) process.kill(process.pid, "SIGKILL");
  };
}
