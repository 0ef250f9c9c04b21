/** What the image builder takes and gives: the types that leave the package. */

import type { PiecesMode, Recording } from "@spore/needs";
import type { PatchCounts } from "@spore/patch";

/** Node releases that an image can carry. */
export type NodeMajor = 22 | 24 | 26;

/** What a target turned out to be. */
export type TargetKind = "project" | "program" | "image";

/** A file or directory of the host that is added to the image. */
export interface Include {
  /** Absolute path on the host. */
  readonly host: string;
  /** Absolute path in the guest. */
  readonly guest: string;
}

/** What decides the bytes of an image. Nothing else does. */
export interface BuildOptions {
  /** Project directory, ELF program or built image, absolute or relative to `base`. */
  readonly target: string;
  /** Directory that relative paths start from. Default: the process's own. */
  readonly base?: string;
  /** Added files, see `parseInclude`; they win over what the builder found. */
  readonly include?: readonly Include[];
  /**
   * Entry module of a project, relative to it. Default: package.json, else a
   * convention. (The CLI reads spore.config.ts and passes its fields here.)
   */
  readonly entry?: string;
  /** Node release for project targets. Default: 24. */
  readonly node?: NodeMajor;
  /** False: leave the system calls of programs and libraries as they are. Default true. */
  readonly patch?: boolean;
  /** Default environment kept in the image (a run may override it). */
  readonly env?: Readonly<Record<string, string>>;
  /** Default arguments kept in the image. */
  readonly args?: readonly string[];
  /** Default working directory kept in the image. */
  readonly cwd?: string;
  /** Default memory in bytes kept in the image. */
  readonly memory?: number;
  /** Default publications kept in the image; absent = every listener. */
  readonly publish?: readonly Publish[];
  /** Whom the program runs as. Default: root of the guest. */
  readonly user?: GuestUser;
  /** Default: SIGTERM. */
  readonly stopSignal?: StopSignal;
  readonly health?: HealthCheck;
  /** What of the host it may use. Default: console and network, every port, every destination. */
  readonly rights?: Partial<Rights>;
  /** Pieces of the library OS as a recording says, instead of what the code may need. */
  readonly recording?: Recording;
  /** Where blobs and build records live. Default: `defaultStore()`. */
  readonly store?: string;
  /** The archive of the library OS. Default: build/kernel.a of this repository. */
  readonly kernel?: string;
  /** How the pieces of the library OS are chosen, if there is no recording. Default: "derived". */
  readonly pieces?: PiecesMode;
  /** Pieces that are added, by name. */
  readonly more?: readonly string[];
  /** Pieces that are left out, by name, with all that cannot work without them. */
  readonly without?: readonly string[];
  /** Do not look for an earlier build of the same target. */
  readonly fresh?: boolean;
}

/** What of the host an image may use; the monitor refuses everything else. */
export interface Rights {
  /** "console": the standard streams; "network": sockets beyond the guest. */
  readonly devices: readonly Device[];
  /** Ports that may be published; null = all. */
  readonly ports: readonly number[] | null;
  /**
   * Where it may connect to: "10.0.0.0/8", "[fd00::/8]", "db.example.com", "*.example.com", each
   * perhaps with ":PORT"; null = everywhere but link-local and metadata addresses.
   */
  readonly destinations: readonly string[] | null;
  /** Folders of the host; there are none yet. */
  readonly volumes: readonly string[];
}

/** Something of the machine that a program may be given. */
export type Device = "console" | "network";

/** A signal that asks a program to stop. */
export type StopSignal = "SIGTERM" | "SIGINT" | "SIGQUIT" | "SIGHUP" | "SIGUSR1" | "SIGUSR2";

/** Whom a program runs as. */
export interface GuestUser {
  readonly uid: number;
  readonly gid: number;
}

/** How to find out that an app is well: HTTP GET requests. */
export interface HealthCheck {
  readonly path: string;
  /** null = the first port that the app listens on. */
  readonly port: number | null;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** So many failures in a row mean that it is not. */
  readonly failures: number;
}

/** A port of the guest made reachable on the host. */
export interface Publish {
  /** Host address to listen on. */
  readonly address: string;
  /** Host port; 0 = pick a free one. */
  readonly host: number;
  /** Port in the guest. */
  readonly guest: number;
  /** Protocol of the port; TCP unless it says otherwise. */
  readonly protocol?: "udp" | undefined;
}

/** One thing that was decided, and the reason: a line of `--explain`. */
export interface Decision {
  /** What it is about, e.g. "entry", "node", "layer", "library". */
  readonly topic: string;
  /** What was decided. */
  readonly what: string;
  /** Why. */
  readonly why: string;
}

/** A file of the image with instructions that leave the guest: how many of them were made jumps. */
export interface PatchedObject {
  /** Guest path. */
  readonly object: string;
  readonly counts: PatchCounts;
}

/** The result of `buildImage`. */
export interface BuildResult {
  readonly image: Image;
  readonly kind: TargetKind;
  /** True if an earlier build was used as it is. */
  readonly reused: boolean;
  /** Wall-clock milliseconds this call took. */
  readonly ms: number;
  /** Path of the record of what went into a built image; see `buildInputs`. */
  readonly record: string | null;
  /** What was decided and why, in order (kept with a reused build). */
  readonly decisions: readonly Decision[];
  /** The files that were looked through for system calls and had some; empty for an image that was given. */
  readonly patches: readonly PatchedObject[];
}

/** Where a blob's bytes are on this host. */
export interface BlobPlace {
  /** Absolute path of the file that holds it. */
  readonly path: string;
  /** Offset of its first byte in that file. */
  readonly offset: number;
}

/** The kernel, one file-system layer, or a document about an image. */
export interface Blob {
  readonly kind: "kernel" | "layer" | "document";
  /** What it holds, for people: "kernel", "node 24.x", "app"; documents are found by it. */
  readonly name: string;
  /** Lower-case hex SHA-256 of all its bytes. */
  readonly sha256: string;
  /** Length in bytes. */
  readonly length: number;
  /** Kernel: bytes it takes in memory (bss included). Layer: 0. */
  readonly memoryLength: number;
  /** Leading bytes that `metadataSha256` covers. */
  readonly metadataLength: number;
  readonly metadataSha256: string;
}

/** Bytes of a layer that are copied into a private region. */
export interface CopyPart {
  /** Index of the layer. */
  readonly layer: number;
  /** Offset of the bytes in the layer. */
  readonly offset: number;
  readonly length: number;
  /** Offset in the region that they go to. */
  readonly at: number;
}

/** 2 MiB frames that are mapped read-only straight from a layer. */
export interface SharedRegion {
  readonly va: number;
  readonly layer: number;
  readonly offset: number;
  readonly length: number;
}

/** 2 MiB frames of guest memory; everything no part covers is zero. */
export interface PrivateRegion {
  readonly va: number;
  readonly gpa: number;
  readonly length: number;
  readonly parts: readonly CopyPart[];
}

/** One mapping of the program at its first instruction. */
export interface ProgramMapping {
  readonly start: number;
  readonly end: number;
  /** PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4. */
  readonly prot: number;
  readonly fileOffset: number;
  /** Guest path of the file; "" = anonymous (bss). */
  readonly path: string;
}

/** The main program as it stands in memory at its first instruction. */
export interface ProgramLayout {
  /** Absolute guest path. */
  readonly path: string;
  readonly startRip: number;
  readonly entry: number;
  readonly phdr: number;
  readonly phnum: number;
  /** 0 without an interpreter. */
  readonly interpBase: number;
  readonly brkStart: number;
  readonly mappings: readonly ProgramMapping[];
  readonly shared: readonly SharedRegion[];
  readonly private: readonly PrivateRegion[];
}

/** What a run uses unless it says otherwise. */
export interface ImageDefaults {
  /** argv[0] and the arguments that belong to the image (for Node: flags and entry). */
  readonly argv: readonly string[];
  /** Arguments after `argv` that a run replaces with its own. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Bytes; a multiple of 2 MiB. */
  readonly memory: number;
  /** null = every port the guest listens on. */
  readonly publish: readonly Publish[] | null;
}

/** A piece of the library OS in an image: what it added to those before it. */
export interface Piece {
  /** "core", or the name of a system call or a service. */
  readonly name: string;
  readonly kind: "core" | "service" | "call";
  /** Of a call: the feature, service or group that it belongs to, such as "epoll". */
  readonly feature?: string;
  /** What in this image cannot work without it. */
  readonly with: readonly string[];
  /** Bytes of code and data. */
  readonly size: number;
  /** Bytes of zeros that only memory holds. */
  readonly zeros: number;
  /** Number of functions and data that it pulled in, and the largest of them. */
  readonly count: number;
  readonly parts: readonly { readonly name: string; readonly size: number }[];
}

/** What an image says of itself; manifest-schema.ts has the limits of each field. */
export interface ImageManifest {
  readonly version: 1;
  readonly kind: "project" | "program";
  /** Short name for people, from package.json or the program's file name. */
  readonly name: string;
  readonly defaults: ImageDefaults;
  readonly user: GuestUser;
  readonly vcpus: 1;
  readonly stopSignal: StopSignal;
  readonly health: HealthCheck | null;
  readonly rights: Rights;
  readonly kernel: Blob;
  /** Bottom layer first. */
  readonly layers: readonly Blob[];
  /** JSON documents about the image, such as why each piece of the kernel is in it. */
  readonly documents: readonly Blob[];
  readonly program: ProgramLayout;
}

/** A verified image and where its blobs are. */
export interface Image extends ImageManifest {
  /** File or directory it was opened from. */
  readonly path: string;
  /** Lower-case hex SHA-256 of its OCI manifest: its name. */
  readonly digest: string;
  readonly kernel: Blob & BlobPlace;
  readonly layers: readonly (Blob & BlobPlace)[];
  readonly documents: readonly (Blob & BlobPlace)[];
}

/** What one run changes. Absent = as the image says. */
export interface RunOptions {
  /** Replaces the image's default arguments. */
  readonly args?: readonly string[];
  /** Added to the image's environment, winning over it. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly hostname?: string;
  readonly memory?: number;
  readonly publish?: readonly Publish[];
  /** Small files placed over the layers; win over the defaults of `launchPlan`. */
  readonly files?: readonly LaunchFile[];
}

/** A small text file placed over the layers. */
export interface LaunchFile {
  readonly path: string;
  readonly mode: number;
  readonly data: string;
}
