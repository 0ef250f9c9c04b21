/** Directories and small files that every image has. */

import { existsSync } from "node:fs";
import type { Inputs } from "./build-record.ts";
import type { GuestTree } from "./guest-tree.ts";
import type { Decision } from "./types.ts";

const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
const DIRECTORIES: readonly (readonly [string, number])[] = [
  ["/app", 0o755],
  ["/dev", 0o755],
  ["/etc", 0o755],
  ["/home", 0o755],
  ["/proc", 0o555],
  ["/root", 0o700],
  ["/run", 0o755],
  ["/sys", 0o555],
  ["/tmp", 0o1777],
  ["/usr/bin", 0o755],
  ["/usr/lib", 0o755],
  ["/usr/lib64", 0o755],
  ["/usr/local/bin", 0o755],
  ["/usr/sbin", 0o755],
  ["/var/log", 0o755],
  ["/var/tmp", 0o1777],
];
/** The merged layout: a path through either name works. */
const LINKS: readonly (readonly [string, string])[] = [
  ["/bin", "usr/bin"],
  ["/lib", "usr/lib"],
  ["/lib64", "usr/lib64"],
  ["/sbin", "usr/sbin"],
  ["/var/run", "/run"],
];
const TEXTS: readonly (readonly [string, string])[] = [
  [
    "/etc/passwd",
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
  ],
  ["/etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"],
  [
    "/etc/nsswitch.conf",
    "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n",
  ],
  ["/etc/host.conf", "multi on\n"],
  ["/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"],
  ["/etc/hostname", "spore\n"],
  ["/etc/resolv.conf", ""],
  ["/etc/protocols", "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n"],
  [
    "/etc/services",
    "ftp 21/tcp\nssh 22/tcp\nsmtp 25/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp\npop3 110/tcp\nntp 123/udp\n" +
      "imap2 143/tcp\nldap 389/tcp\nhttps 443/tcp\nsubmission 587/tcp\nldaps 636/tcp\nimaps 993/tcp\npop3s 995/tcp\n" +
      "mysql 3306/tcp\npostgresql 5432/tcp\namqp 5672/tcp\nredis 6379/tcp\n",
  ],
  ["/etc/os-release", 'ID=spore\nNAME="Spore"\nPRETTY_NAME="Spore"\n'],
];

/** Adds them to a tree. */
export function addBaseFiles(tree: GuestTree, inputs: Inputs, decisions: Decision[]): void {
  for (const [path, mode] of DIRECTORIES) tree.directory(path, mode);
  for (const [path, target] of LINKS) tree.symlink(path, target);
  for (const [path, text] of TEXTS) tree.text(path, text);
  inputs.add(CERTIFICATES);
  if (existsSync(CERTIFICATES)) {
    // Only the bundle's bytes: the host may keep it anywhere behind symlinks.
    tree.graft(CERTIFICATES, CERTIFICATES, (path) => inputs.add(path));
    tree.symlink("/etc/ssl/cert.pem", "certs/ca-certificates.crt");
    decisions.push({
      topic: "certificates",
      what: CERTIFICATES,
      why: "the host has it; programs check TLS servers against it",
    });
  } else {
    decisions.push({ topic: "certificates", what: "none", why: `the host has no ${CERTIFICATES}` });
  }
}
