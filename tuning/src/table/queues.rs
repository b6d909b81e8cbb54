//! Queues between the card (or loopback) and the core.

use super::{NO, Place, Row, Wanted, Weight, least};
use crate::wish::Wish;

const PAGE: &str = "queues";
const PERFORMANCE: Option<Wanted> = Some(Wanted::Plain(Wish::OneOf(&["performance"])));
const ABSENT: Option<Wanted> = super::ABSENT;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "net.core.netdev_max_backlog",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [least(&[65_536]), least(&[65_536]), least(&[65_536]), NO],
        why: "packets that wait for a core; loopback and RPS go through it",
        source: "Documentation/admin-guide/sysctl/net.rst",
        undo: "1000",
        page: PAGE,
    },
    Row {
        name: "net.core.netdev_budget",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [least(&[600]), least(&[600]), least(&[600]), NO],
        why: "packets a core takes from its cards in one go; a storm runs into it as time_squeeze",
        source: "Documentation/admin-guide/sysctl/net.rst; third column of /proc/net/softnet_stat",
        undo: "300",
        page: PAGE,
    },
    Row {
        name: "net.core.netdev_budget_usecs",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [least(&[8_000]), least(&[8_000]), least(&[8_000]), NO],
        why: "the same bound as time",
        source: "Documentation/admin-guide/sysctl/net.rst",
        undo: "2 ticks: 8000 at 250 Hz, 2000 at 1000 Hz",
        page: PAGE,
    },
    Row {
        name: "irqbalance",
        place: Place::Irqbalance,
        weight: Weight::Advised,
        wishes: [ABSENT, ABSENT, NO, NO],
        why: "a card's queues stay on their shards' cores; irqbalance moves them",
        source: "irqbalance(1); Documentation/networking/scaling.rst",
        undo: "systemctl enable --now irqbalance",
        page: PAGE,
    },
    Row {
        name: "cpu_governor",
        place: Place::Governor,
        weight: Weight::Advised,
        wishes: [PERFORMANCE, PERFORMANCE, PERFORMANCE, NO],
        why: "a core that slows down between notifications is slow when one comes",
        source: "Documentation/admin-guide/pm/cpufreq.rst",
        undo: "cpupower frequency-set -g schedutil (or what was found)",
        page: PAGE,
    },
];
