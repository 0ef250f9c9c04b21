/** What an app needs of the operating system: the types that leave the package. */

/** How the pieces of an image are chosen. */
export type PiecesMode = "full" | "derived" | "recorded";

/**
 * Who asked for something, and where. Paths are guest paths, addresses are
 * link-time virtual addresses of the object.
 */
export type Reason =
  /** An object imports a symbol of the C library whose code makes the call. */
  | {
      readonly kind: "import";
      /** The program, library or add-on that imports it. */
      readonly object: string;
      readonly symbol: string;
      /** The functions of the C library between the symbol and the call, the last one makes it. */
      readonly through: readonly string[];
    }
  /** An instruction of the object makes the call. */
  | {
      readonly kind: "callSite";
      readonly object: string;
      readonly address: number;
      /** Function that holds it; "" if nothing names it. */
      readonly symbol: string;
    }
  /** An object names a file, such as /proc/cpuinfo. */
  | { readonly kind: "text"; readonly object: string; readonly text: string }
  /** A call that cannot be read from the code: whatever it may ask for counts. */
  | {
      readonly kind: "unknown";
      readonly object: string;
      /** What could not be decided, for people. */
      readonly why: string;
    }
  /** The test programs of a runtime use it. */
  | { readonly kind: "profile"; readonly profile: string; readonly program: string }
  /** The app used it while `command` ran. */
  | { readonly kind: "recording"; readonly command: string; readonly count: number }
  /** A flag or a setting asks for it. */
  | { readonly kind: "flag"; readonly flag: string };

/** A system call that has to be there. */
export interface NeededCall {
  readonly number: number;
  /** Linux's name; "call-N" for a number that has none. */
  readonly name: string;
  readonly by: readonly Reason[];
}

/**
 * Something beyond a call that has to be there. The name says what:
 *
 * - `file/proc/cpuinfo`, `file/sys/...`, `file/dev/...`: a file that the library OS makes up;
 *   a process's own number is written as `self`; `file/proc/*` is everything below;
 * - `socket/unix`, `socket/inet`, `socket/inet6`, `socket/netlink`: a family of sockets; `socket/*` is all.
 */
export interface NeededService {
  readonly name: string;
  readonly by: readonly Reason[];
}

/** How many system-call instructions an object has, and how many of them were turned into jumps. */
export interface SiteCount {
  readonly object: string;
  readonly sites: number;
  readonly patched: number;
  /** The same of its `cpuid` instructions, if it was looked for them and has any. */
  readonly cpuid?: { readonly sites: number; readonly patched: number };
}

/** What an app needs; calls by number, services and sites by name. Plain data, as JSON keeps it. */
export interface Needs {
  readonly version: 1;
  readonly mode: PiecesMode;
  readonly calls: readonly NeededCall[];
  readonly services: readonly NeededService[];
  /** Not empty: no call can be ruled out, for these reasons, so that everything has to be there. */
  readonly everything: readonly Reason[];
  /** Pieces that are left out, with all that cannot work without them, whoever asks for them. */
  readonly without?: readonly string[];
  readonly sites: readonly SiteCount[];
}
