//! `tuning plan`: what so many connections need, by multiplying the measured model. Pure.
//!
//! # Shape of the JSON, `"schema": "tocsin.tuning.plan/1"`
//! `asked` (`connections`, `tls`, `rate`, `nodes`), `gateway[]` (each node), `loadtest[]` (one host), `notes[]`. A figure has
//! `name`, `value` (a whole number, rounded up), `unit`, `how` (the arithmetic) and `source` (of what was multiplied).
//! Fields are added, never renamed or removed, within one number.

use std::fmt::Write as _;

use serde::Serialize;

use crate::model;

pub const SCHEMA: &str = "tocsin.tuning.plan/1";
/// What may be asked for: `gateway.soft_limit` has the same bound.
pub const CONNECTIONS_MAX: u64 = 100_000_000;
pub const NODES_MAX: u64 = 10_000;
pub const RATE_MAX: f64 = 1e9;
/// The hard limit's distance from the soft one: 600,000 over 500,000.
const HARD_PERCENT: u64 = 120;
/// A shard's table beyond its share, since the kernel spreads connections by chance.
const SHARD_SPARE_PERCENT: u64 = 125;
/// Files of the host that are no connections.
const FILES_SPARE: u64 = 100_000;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Asked {
    pub connections: u64,
    pub tls: bool,
    /// Messages a second to sockets: each copy counts.
    pub rate: f64,
    pub nodes: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub value: u64,
    pub unit: &'static str,
    pub how: String,
    pub source: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Plan {
    pub schema: &'static str,
    pub asked: Asked,
    pub gateway: Vec<Figure>,
    pub loadtest: Vec<Figure>,
    pub notes: Vec<&'static str>,
}

/// One node's share.
struct Node {
    soft: u64,
    hard: u64,
    rate: f64,
    tls: bool,
}

pub fn plan(asked: Asked) -> Plan {
    let survivors = (asked.nodes - 1).max(1);
    let soft = asked.connections.div_ceil(survivors);
    let node =
        Node { soft, hard: soft * HARD_PERCENT / 100, rate: asked.rate / survivors as f64, tls: asked.tls };
    let cores = node.cores();
    let mut gateway = vec![
        figure("soft_limit", soft, "connections", share(asked, survivors), "gateway.soft_limit"),
        figure(
            "hard_limit",
            node.hard,
            "connections",
            format!("soft_limit × {HARD_PERCENT} %"),
            "gateway.hard_limit",
        ),
    ];
    gateway.extend(node.memory(cores.value));
    gateway.push(node.back_s());
    gateway.extend(node.rings(cores.value));
    gateway.push(cores);
    Plan { schema: SCHEMA, asked, gateway, loadtest: load_tester(asked), notes: notes(asked) }
}

fn share(asked: Asked, survivors: u64) -> String {
    match asked.nodes {
        1 => format!("{} on one node", asked.connections),
        nodes => format!("{} ÷ {survivors}: of {nodes} nodes one may be lost", asked.connections),
    }
}

fn figure(name: &'static str, value: u64, unit: &'static str, how: String, source: &'static str) -> Figure {
    Figure { name, value, unit, how, source }
}

impl Node {
    fn memory(&self, cores: u64) -> Vec<Figure> {
        let (socket, interest) = (model::SERVER_SOCKET_BYTES, model::INTEREST_BYTES);
        let kernel = self.hard * (socket.value + interest.value);
        let user = self.hard * model::GATEWAY_USER_BYTES.value;
        let tls = if self.tls { self.hard * model::TLS_USER_BYTES.value } else { 0 };
        let rest = kernel + user + tls + model::BASE_BYTES.value;
        let times = |each: u64| format!("{} × {each} B", self.hard);
        let mut figures = vec![
            figure("kernel_memory", kernel, "bytes", times(socket.value + interest.value), socket.source),
            figure(
                "user_memory",
                user,
                "bytes",
                times(model::GATEWAY_USER_BYTES.value),
                model::GATEWAY_USER_BYTES.source,
            ),
        ];
        if self.tls {
            let how = times(model::TLS_USER_BYTES.value);
            figures.push(figure("tls_memory", tls, "bytes", how, model::TLS_USER_BYTES.source));
        }
        let outboxes = cores * model::OUTBOX_SHARD_BYTES.value;
        figures.extend([
            figure(
                "memory_at_rest",
                rest,
                "bytes",
                format!("kernel + user, and {} MiB", model::BASE_BYTES.value >> 20),
                model::BASE_BYTES.source,
            ),
            figure(
                "memory_max",
                rest + outboxes,
                "bytes",
                format!(
                    "at rest, and {cores} shards' outboxes full; the kernel's buffers (tcp_mem) come on top"
                ),
                model::OUTBOX_SHARD_BYTES.source,
            ),
        ]);
        figures
    }

    /// Messages and pings, with head room; never less than one core, which also takes a storm's handshakes.
    fn cores(&self) -> Figure {
        let pings = self.soft as f64 / model::PING_EVERY_S.value as f64;
        let busy_ns = self.rate * model::MESSAGE_NS.value as f64 + pings * model::PING_NS.value as f64;
        let filled = model::CORE_FILLED_PERCENT.value as f64 / 100.0;
        let how = format!(
            "{:.0} messages/s × {} ns and {pings:.0} pings/s × {} ns, a core filled to {} %",
            self.rate,
            model::MESSAGE_NS.value,
            model::PING_NS.value,
            model::CORE_FILLED_PERCENT.value
        );
        figure(
            "cores",
            ((busy_ns / 1e9 / filled).ceil() as u64).max(1),
            "cores",
            how,
            model::MESSAGE_NS.source,
        )
    }

    /// How long all take to come back to an empty node.
    fn back_s(&self) -> Figure {
        let rate = model::ACCEPT_RATE;
        let cpu = rate.value as f64 * model::HANDSHAKE_NS.value as f64 / 1e9;
        let how = format!("{} ÷ {}/s, {cpu:.1} cores busy meanwhile", self.soft, rate.value);
        figure(
            "time_to_come_back",
            self.soft.div_ceil(rate.value),
            "seconds",
            how,
            model::HANDSHAKE_NS.source,
        )
    }

    fn rings(&self, shards: u64) -> Vec<Figure> {
        let slots = self.hard.div_ceil(shards) * if shards == 1 { 100 } else { SHARD_SPARE_PERCENT } / 100;
        let each = model::SLOTS_PER_RING;
        let nofile = each.value + model::FDS_SPARE.value;
        let (executor, ring) = (model::EXECUTOR_LOCKED_KIB, model::RING_LOCKED_KIB);
        let rings = slots.div_ceil(each.value);
        vec![
            figure("rings_per_shard", rings, "rings", format!("{slots} slots ÷ {}", each.value), each.source),
            figure(
                "nofile",
                nofile.max(shards * rings + model::FDS_SPARE.value),
                "descriptors",
                format!(
                    "{} for the widest useful ring (or one a ring), {} spare",
                    each.value,
                    model::FDS_SPARE.value
                ),
                model::FDS_SPARE.source,
            ),
            figure(
                "memlock",
                shards * (executor.value + rings * ring.value),
                "KiB",
                format!("{shards} shards × ({} KiB and {rings} rings × {} KiB)", executor.value, ring.value),
                ring.source,
            ),
            figure(
                "file_max",
                self.hard + FILES_SPARE,
                "files",
                format!("hard_limit, and {FILES_SPARE} of everybody else"),
                "fs.file-max: a socket in a ring's table is a file of the host",
            ),
            figure(
                "thash_entries",
                (self.soft * 2).next_power_of_two(),
                "buckets",
                format!("the power of two from 2 × {} on", self.soft),
                "chains of half a connection on average",
            ),
        ]
    }
}

fn load_tester(asked: Asked) -> Vec<Figure> {
    let n = asked.connections;
    let memory = n * model::loadtest_connection_bytes() + model::BASE_BYTES.value;
    let each = model::PORTS.value * asked.nodes * model::PORTS_FILLED_PERCENT.value / 100;
    let rings = model::SLOTS_PER_RING;
    vec![
        figure(
            "memory",
            memory,
            "bytes",
            format!(
                "{n} × {} B and {} MiB",
                model::loadtest_connection_bytes(),
                model::BASE_BYTES.value >> 20
            ),
            model::CLIENT_EXTRA_BYTES.source,
        ),
        figure(
            "source_addresses",
            n.div_ceil(each),
            "addresses",
            format!(
                "{n} ÷ ({} ports × {} nodes, {} % filled)",
                model::PORTS.value,
                asked.nodes,
                model::PORTS_FILLED_PERCENT.value
            ),
            model::PORTS.source,
        ),
        figure(
            "ports",
            n.div_ceil(n.div_ceil(each)),
            "ports",
            "of each source address, over all nodes".to_owned(),
            model::PORTS_FILLED_PERCENT.source,
        ),
        figure(
            "threads",
            n.div_ceil(model::CLIENTS_PER_THREAD.value),
            "threads",
            format!(
                "{n} ÷ {}, at most the cores (half of them beside a server)",
                model::CLIENTS_PER_THREAD.value
            ),
            model::CLIENTS_PER_THREAD.source,
        ),
        figure("rings", n.div_ceil(rings.value), "rings", format!("{n} ÷ {}", rings.value), rings.source),
        figure(
            "file_max",
            n + FILES_SPARE,
            "files",
            format!("connections, and {FILES_SPARE}"),
            "fs.file-max",
        ),
    ]
}

fn notes(asked: Asked) -> Vec<&'static str> {
    let mut notes = vec![
        "both ends on one host: add the load tester's memory and files to the gateway's",
        "connections are planned idle; what slow readers hold in the kernel is bounded by tcp_mem (tuning check)",
    ];
    if asked.tls {
        notes.push("the CPU of TLS handshakes and records is not in the model: measure it with openssl s_time on the host");
    }
    notes
}

impl Plan {
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self)
            .expect("a plan serializes: its keys are strings, its floats finite")
    }

    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String never fails.
        let _infallible = self.write_page(&mut page);
        page
    }

    fn write_page(&self, page: &mut String) -> std::fmt::Result {
        let Asked { connections, tls, rate, nodes } = self.asked;
        let tls = if tls { ", TLS" } else { "" };
        writeln!(page, "{connections} connections{tls}, {rate} messages/s to sockets, {nodes} nodes")?;
        for (title, figures) in [("each gateway", &self.gateway), ("the load tester", &self.loadtest)] {
            writeln!(page, "\n{title}")?;
            for Figure { name, value, unit, how, source } in figures {
                let value = if *unit == "bytes" { mib(*value) } else { format!("{value} {unit}") };
                writeln!(page, "  {name:18} {value:>22}  {how}")?;
                writeln!(page, "  {:18} {:>22}  [{source}]", "", "")?;
            }
        }
        writeln!(page)?;
        self.notes.iter().try_for_each(|note| writeln!(page, "note: {note}"))
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(connections: u64, tls: bool, rate: f64, nodes: u64) -> Plan {
        plan(Asked { connections, tls, rate, nodes })
    }

    fn value(figures: &[Figure], name: &str) -> u64 {
        figures.iter().find(|figure| figure.name == name).unwrap_or_else(|| panic!("no {name}")).value
    }

    #[test]
    fn one_node_takes_all_and_of_several_one_may_be_lost() {
        let one = planned(500_000, false, 0.0, 1).gateway;
        assert_eq!((value(&one, "soft_limit"), value(&one, "hard_limit")), (500_000, 600_000));
        let five = planned(2_000_000, false, 0.0, 5).gateway;
        assert_eq!(value(&five, "soft_limit"), 500_000, "four survivors hold it");
        let two = planned(1_000_000, false, 0.0, 2).gateway;
        assert_eq!(value(&two, "soft_limit"), 1_000_000);
    }

    #[test]
    fn memory_is_the_models_and_tls_comes_on_top() {
        let plain = planned(1_000_000, false, 0.0, 1).gateway;
        let each = model::gateway_connection_bytes(false);
        assert_eq!(value(&plain, "memory_at_rest"), 1_200_000 * each + model::BASE_BYTES.value);
        let tls = planned(1_000_000, true, 0.0, 1);
        let more = value(&tls.gateway, "memory_at_rest") - value(&plain, "memory_at_rest");
        assert_eq!(more, 1_200_000 * model::TLS_USER_BYTES.value);
        assert!(tls.notes.iter().any(|note| note.contains("openssl s_time")), "what is not known is said");
    }

    #[test]
    fn cores_follow_the_rate() {
        let cores = |rate| value(&planned(500_000, false, rate, 1).gateway, "cores");
        assert_eq!(cores(0.0), 1);
        // 100,000 × 8.2 µs + 20,000 pings × 6 µs = 0.94 cores, filled to 60 %.
        assert_eq!(cores(100_000.0), 2);
        assert!(cores(1_000_000.0) >= 14);
    }

    #[test]
    fn a_million_clients_need_their_source_addresses() {
        let loadtest = planned(1_000_000, false, 0.0, 1).loadtest;
        assert_eq!(value(&loadtest, "source_addresses"), 32, "31.0 × 32,256");
        assert!(value(&loadtest, "ports") <= 32_256);
        assert_eq!(value(&planned(1_000_000, false, 0.0, 4).loadtest, "source_addresses"), 8);
    }

    #[test]
    fn every_figure_says_how_and_from_where() {
        for plan in [planned(1, true, 0.5, 1), planned(CONNECTIONS_MAX, true, RATE_MAX, NODES_MAX)] {
            for figure in plan.gateway.iter().chain(&plan.loadtest) {
                assert!(
                    !figure.how.is_empty() && !figure.source.is_empty() && figure.value > 0,
                    "{figure:?}"
                );
                assert!(plan.page().contains(&figure.how) && plan.page().contains(figure.source));
            }
        }
    }
}
