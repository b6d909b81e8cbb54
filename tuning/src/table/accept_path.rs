//! The accept path: from the SYN to the accepted socket.

use super::{ABSENT, NO, Place, Row, Weight, ZERO, least, most};

const PAGE: &str = "accept-path";

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "net.core.somaxconn",
        place: Place::Sysctl,
        weight: Weight::Needed,
        wishes: [least(&[65_535]), least(&[65_535]), NO, least(&[4_096])],
        why: "caps listen()'s backlog: what a storm brings while a shard is busy waits here, or its last ACK is dropped and \
              the client waits a second",
        source: "listen(2)",
        undo: "4096",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_max_syn_backlog",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [least(&[262_144]), least(&[262_144]), NO, NO],
        why: "half-open handshakes where SYN cookies are off; with cookies the backlog of listen() counts",
        source: "tcp(7); net/ipv4/tcp_input.c, tcp_conn_request",
        undo: "sized at boot, 128 to 4096",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_syncookies",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [least(&[1]), least(&[1]), NO, NO],
        why: "a full SYN queue must not refuse honest clients",
        source: "tcp(7)",
        undo: "1",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_synack_retries",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [most(&[2]), most(&[2]), NO, NO],
        why: "a half-open handshake is forgotten after 7 s instead of 63",
        source: "tcp(7)",
        undo: "5",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_abort_on_overflow",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [ZERO, ZERO, NO, NO],
        why: "a full backlog is a moment: the client's next ACK gets in, a reset would throw it back into the storm",
        source: "tcp(7)",
        undo: "0",
        page: PAGE,
    },
    Row {
        name: "thash_entries",
        place: Place::Buckets,
        weight: Weight::Advised,
        wishes: [least(&[1 << 20]), least(&[1 << 21]), least(&[1 << 21]), NO],
        why: "buckets of the table of established connections: each packet walks its bucket's chain",
        source: "Documentation/admin-guide/kernel-parameters.txt; net.ipv4.tcp_ehash_entries",
        undo: "take thash_entries= off the kernel's command line and reboot",
        page: PAGE,
    },
    Row {
        name: "conntrack",
        place: Place::Conntrack,
        weight: Weight::Needed,
        wishes: [ABSENT, ABSENT, ABSENT, NO],
        why: "a tracked connection costs 300 B and a lookup a packet, and at nf_conntrack_max new ones are dropped",
        source: "Documentation/networking/nf_conntrack-sysctl.rst",
        undo: "take the notrack rules out again",
        page: PAGE,
    },
];
