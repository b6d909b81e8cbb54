//! Ports: what a load tester, which opens every connection from one host, runs out of first.

use super::{NO, Place, Row, Wanted, Weight, least, most};
use crate::wish::Wish;

const PAGE: &str = "ports";
const WIDE: Option<Wanted> = Some(Wanted::Plain(Wish::Ports { width: 60_000, low: 1_024, high: 65_535 }));
/// The listeners of the gateway and the router.
const OURS: Option<Wanted> = Some(Wanted::Plain(Wish::Reserved(&[8_080, 8_090, 8_443, 9_090, 9_101, 9_102])));
const ON: Option<Wanted> = Some(Wanted::Plain(Wish::Exactly(1)));

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "net.ipv4.ip_local_port_range",
        place: Place::Sysctl,
        weight: Weight::Needed,
        wishes: [NO, NO, WIDE, NO],
        why: "one source address has this many ports towards one listener",
        source: "ip(7)",
        undo: "32768 60999",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.ip_local_reserved_ports",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [NO, NO, OURS, NO],
        why: "a range from 1024 on holds our listeners' ports: an outgoing connection must not take one before its program \
              starts",
        source: "Documentation/networking/ip-sysctl.rst",
        undo: "empty",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_tw_reuse",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [NO, NO, ON, NO],
        why: "a second run finds the ports of the first in TIME-WAIT; the default 2 lets only loopback use them again",
        source: "Documentation/networking/ip-sysctl.rst",
        undo: "2",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_max_tw_buckets",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [NO, NO, least(&[2_000_000]), NO],
        why: "more sockets in TIME-WAIT than that are forgotten at once, and late packets then meet new connections",
        source: "tcp(7)",
        undo: "half of the buckets of the connection table",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_fin_timeout",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [most(&[15]), most(&[15]), most(&[15]), NO],
        why: "how long a socket that we closed and the peer did not stays in FIN-WAIT-2: vanished clients cost memory",
        source: "tcp(7)",
        undo: "60",
        page: PAGE,
    },
];
