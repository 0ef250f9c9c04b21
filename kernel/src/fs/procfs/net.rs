//! /proc/net: tables that are mostly empty, because sockets live on the host.

use crate::fs::synthetic::Entry;

/// Entries of /proc/net.
pub const ENTRIES: &[(&str, Entry)] = &[
    (
        "dev",
        Entry::Fixed(
            "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
             lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n",
        ),
    ),
    (
        "if_inet6",
        Entry::Fixed("00000000000000000000000000000001 01 80 10 80       lo\n"),
    ),
    (
        "route",
        Entry::Fixed(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n",
        ),
    ),
    ("tcp", Entry::Fixed(SOCKETS)),
    ("tcp6", Entry::Fixed(SOCKETS)),
    ("udp", Entry::Fixed(SOCKETS)),
    ("udp6", Entry::Fixed(SOCKETS)),
    (
        "unix",
        Entry::Fixed("Num       RefCount Protocol Flags    Type St Inode Path\n"),
    ),
];

const SOCKETS: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
