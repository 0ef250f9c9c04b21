/**
 * What an app can know of being frozen and restored, and say about it.
 *
 * Everything here does nothing where no machine stands behind it: in a test, in
 * development, on another platform. Where one does, the module that Spore loads
 * before an app ({@link ./preload/main.ts}) has left a {@link Lifecycle} behind.
 */

/** What a restore has brought. */
export interface RestoreInfo {
  /** How many freezes lie between the first start and now. */
  readonly generation: number;
  /** How long the machine was frozen, in milliseconds. */
  readonly sleptMs: number;
  /** Name of this machine, of no other. */
  readonly instance: string;
  /** False where a freeze was prepared for and this very machine went on: nothing is new then. */
  readonly restored: boolean;
}

/** Called before a freeze. */
export type SuspendHandler = (info: {
  /** When the freeze happens, whether the handler is done or not. */
  readonly deadline: Date;
}) => unknown;

/** Called when the program goes on. */
export type RestoreHandler = (info: RestoreInfo) => unknown;

/** What the module that runs before the app offers. */
export interface Lifecycle {
  /** Which machine this is. */
  readonly info: RestoreInfo;
  onSuspend(handler: SuspendHandler): () => void;
  onRestore(handler: RestoreHandler): () => void;
  hold(): () => void;
  ready(): void;
}

/** Where the {@link Lifecycle} is, as a property of globalThis. */
export const LIFECYCLE: unique symbol = Symbol.for("spore.lifecycle");

function lifecycle(): Lifecycle | undefined {
  return (globalThis as { [LIFECYCLE]?: Lifecycle })[LIFECYCLE];
}

/**
 * Calls `handler` before this machine is frozen, and waits for what it returns,
 * but not past the deadline. The place to finish what must not happen twice: flush
 * a buffer, give up a lease. Gives a function that takes it back.
 */
export function onSuspend(handler: SuspendHandler): () => void {
  return lifecycle()?.onSuspend(handler) ?? (() => {});
}

/**
 * Calls `handler` when the program goes on after a freeze: in every machine made
 * from the snapshot, before anything else of the app runs in it, and with
 * `restored: false` in the machine that was frozen and went on. The environment,
 * clocks and random numbers are in order by then. Gives a function that takes it back.
 */
export function onRestore(handler: RestoreHandler): () => void {
  return lifecycle()?.onRestore(handler) ?? (() => {});
}

/** A reason not to be frozen, until it is disposed of. */
export interface Hold extends Disposable {
  /** The same as disposing of it. */
  release(): void;
}

/** Keeps this machine from being frozen: `using awake = holdAwake();` */
export function holdAwake(): Hold {
  let release = lifecycle()?.hold();
  const once = (): void => {
    release?.();
    release = undefined;
  };
  return { release: once, [Symbol.dispose]: once };
}

/** Keeps this machine from being frozen until `work` has ended, well or badly. Returns `work`. */
export function waitUntil<T>(work: PromiseLike<T>): PromiseLike<T> {
  const hold = holdAwake();
  work.then(hold.release, hold.release);
  return work;
}

/** Says that the program is ready: warm enough for `spore snapshot --ready signal`. */
export function ready(): void {
  lifecycle()?.ready();
}

/** Which machine this is; null where none stands behind the program. */
export function machine(): RestoreInfo | null {
  return lifecycle()?.info ?? null;
}
