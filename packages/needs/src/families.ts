/** Families of sockets (socket(2)) that the library OS has. */

const SERVICES: ReadonlyMap<number, string> = new Map([
  [1, "socket/unix"],
  [2, "socket/inet"],
  [10, "socket/inet6"],
  [16, "socket/netlink"],
]);

/** The service of a family; undefined for one that the library OS refuses anyway. */
export function serviceOfFamily(family: number): string | undefined {
  return SERVICES.get(family);
}
