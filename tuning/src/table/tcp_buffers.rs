//! TCP's memory: what sockets may hold in the kernel, one by one and together.

use super::{NO, Place, Row, Wanted, Weight, ZERO, most};
use crate::wish::Wish;

const PAGE: &str = "tcp-buffers";
const OF_MEMORY: Option<Wanted> = Some(Wanted::PagesPercent([25, 33, 50]));
const RECEIVE: Option<Wanted> = most(&[4_096, 8_192, 262_144]);
const SEND: Option<Wanted> = most(&[4_096, 16_384, 1_048_576]);
const UNSENT: Option<Wanted> = Some(Wanted::Plain(Wish::Within(16_384, 131_072)));

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "net.ipv4.tcp_mem",
        place: Place::Sysctl,
        weight: Weight::Needed,
        wishes: [OF_MEMORY, OF_MEMORY, OF_MEMORY, NO],
        why: "pages for the buffers of all sockets together: over the second number windows close, over the third packets \
              are dropped; the default third is a tenth of memory",
        source: "tcp(7)",
        undo: "sized at boot: about 5, 6 and 9 percent of memory",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_rmem",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [RECEIVE, RECEIVE, RECEIVE, NO],
        why: "what one peer may make the kernel keep for it: clients send little, so a large window only helps an attacker",
        source: "tcp(7)",
        undo: "4096 131072 6291456 (the third by memory; 33554432 from Linux 6.16)",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_wmem",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [SEND, SEND, SEND, NO],
        why: "what one slow reader may make the kernel keep before the outbox counts it; never SO_SNDBUF, which ends its tuning",
        source: "tcp(7)",
        undo: "4096 16384 4194304",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_notsent_lowat",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [UNSENT, UNSENT, NO, NO],
        why: "unsent bytes of a slow reader stay in the outbox, where they can be counted, coalesced and dropped",
        source: "tcp(7), TCP_NOTSENT_LOWAT",
        undo: "4294967295",
        page: PAGE,
    },
    Row {
        name: "net.ipv4.tcp_slow_start_after_idle",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [ZERO, ZERO, NO, NO],
        why: "a notification's connection is idle nearly always; its window need not shrink",
        source: "tcp(7)",
        undo: "1",
        page: PAGE,
    },
];
