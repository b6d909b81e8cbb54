//! What a node counts, and how Prometheus reads it.
//!
//! Each shard writes its own counters and nobody else's; the admin listener adds them up when it is asked.
//! Never labels anything with a user, a token or a text. Called by `shard`, `io::shard_loop` and `io::admin`.

pub mod tls;

use ops::metrics::{Counter, Gauge, Histogram, Text};
use wire::close::CloseCode;

use crate::admission::{Admission, Refusal, Verdict};

/// How a client's first request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    WebSocket,
    Events,
    Posted,
    Asked,
    BadRequest,
    BadOrigin,
    Unauthorized,
    NotFound,
    OverCapacity,
    Busy,
    TooMany,
    TimedOut,
    Gone,
}

impl Handshake {
    const ALL: [(Handshake, &'static str); 13] = [
        (Handshake::WebSocket, "websocket"),
        (Handshake::Events, "events"),
        (Handshake::Posted, "posted"),
        (Handshake::Asked, "asked"),
        (Handshake::BadRequest, "bad_request"),
        (Handshake::BadOrigin, "bad_origin"),
        (Handshake::Unauthorized, "unauthorized"),
        (Handshake::NotFound, "not_found"),
        (Handshake::OverCapacity, "over_capacity"),
        (Handshake::Busy, "busy"),
        (Handshake::TooMany, "too_many"),
        (Handshake::TimedOut, "timed_out"),
        (Handshake::Gone, "gone"),
    ];
}

/// Labels of `gateway_admission_total`.
const VERDICTS: [&str; 6] = ["accepted", "soft", "rate", "draining", "hard", "address"];

/// Labels of `gateway_proxied_total`.
const PROXIED: [&str; 5] = ["proxy", "unnamed", "forwarded", "silent", "malformed"];

/// What a trusted proxy said about whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// A PROXY header with an address.
    Proxy,
    /// A PROXY header without one: a health check.
    Unnamed,
    /// `X-Forwarded-For`.
    Forwarded,
    /// Neither.
    Silent,
    Malformed,
}

/// One shard's counters.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    admission: [Counter; VERDICTS.len()],
    proxied: [Counter; PROXIED.len()],
    handshakes: [Counter; Handshake::ALL.len()],
    closes: [Counter; CloseCode::ALL.len()],
    /// Open WebSockets and event streams.
    pub open_websockets: Gauge,
    pub open_events: Gauge,
    pub users: Gauge,
    pub topics: Gauge,
    /// Frames queued for sockets: notifications, replies, pings.
    pub sends: Counter,
    pub send_bytes: Counter,
    /// Submissions to the kernel, each of one or more frames.
    pub batches: Counter,
    /// Frames not queued because an outbox was full; each of these sockets was told `gap`.
    pub dropped: Counter,
    pub gaps: Counter,
    pub slow_consumers: Counter,
    pub retired: Counter,
    pub outbox_bytes: Gauge,
    /// From a broadcast's arrival at the shard to its last socket's outbox.
    pub fanout_seconds: Histogram,
    pub client_messages: Counter,
    pub bad_messages: Counter,
    pub busy: Counter,
    pub links_ready: Gauge,
    pub link_frames_in: Counter,
    pub link_frames_out: Counter,
    pub link_cuts: Counter,
    /// Copied from the shard's rings.
    pub ring: RingGauges,
    pub tls: tls::TlsMetrics,
}

/// The figures of `gateway_ring::RingStats` that operators look at.
#[derive(Debug, Default)]
pub struct RingGauges {
    pub capacity: Gauge,
    pub enters: Gauge,
    pub completions: Gauge,
    pub overflows: Gauge,
    pub accept_errors: Gauge,
    pub send_errors: Gauge,
    pub waits: Gauge,
}

impl ShardMetrics {
    pub fn admitted(&self, verdict: Verdict) {
        let label = match verdict {
            Verdict::Accept => 0,
            Verdict::Refuse(Refusal::OverSoft) => 1,
            Verdict::Refuse(Refusal::OverRate) => 2,
            Verdict::Refuse(Refusal::Draining) => 3,
            Verdict::Reset => 4,
            Verdict::Refuse(Refusal::FullAddress) => 5,
        };
        self.admission[label].inc();
    }

    pub fn proxied(&self, how: Proxied) {
        self.proxied[how as usize].inc();
    }

    pub fn handshake(&self, outcome: Handshake) {
        self.handshakes[outcome as usize].inc();
    }

    /// Sessions that we closed with this code.
    pub fn closes_of(&self, code: CloseCode) -> u64 {
        let place = CloseCode::ALL.iter().position(|known| *known == code);
        place.map_or(0, |place| self.closes[place].get())
    }

    pub fn closed(&self, code: CloseCode) {
        let place = CloseCode::ALL.iter().position(|known| *known == code);
        self.closes[place.expect("ALL has every code")].inc();
    }
}

type Figure<T> = (&'static str, &'static str, fn(&ShardMetrics) -> &T);

const COUNTERS: [Figure<Counter>; 13] = [
    ("tocsin_gateway_sends_total", "Frames queued for sockets.", |shard| &shard.sends),
    ("tocsin_gateway_send_bytes_total", "Bytes queued for sockets.", |shard| &shard.send_bytes),
    ("tocsin_gateway_send_batches_total", "Sends handed to the kernel.", |shard| &shard.batches),
    ("tocsin_gateway_dropped_total", "Frames that a full outbox did not take.", |shard| &shard.dropped),
    ("tocsin_gateway_gaps_total", "Sockets told that something was not sent.", |shard| &shard.gaps),
    ("tocsin_gateway_slow_consumers_total", "Sockets closed with 4429.", |shard| &shard.slow_consumers),
    ("tocsin_gateway_retired_total", "Sockets advised to move at their lifetime's end.", |shard| {
        &shard.retired
    }),
    ("tocsin_gateway_client_messages_total", "Messages from clients.", |shard| &shard.client_messages),
    ("tocsin_gateway_bad_messages_total", "Messages answered by an error.", |shard| &shard.bad_messages),
    ("tocsin_gateway_busy_total", "Messages that no router took in time.", |shard| &shard.busy),
    ("tocsin_gateway_link_frames_in_total", "Frames from routers.", |shard| &shard.link_frames_in),
    ("tocsin_gateway_link_frames_out_total", "Frames to routers.", |shard| &shard.link_frames_out),
    ("tocsin_gateway_link_cuts_total", "Links to routers that were lost or cut.", |shard| &shard.link_cuts),
];

const GAUGES: [Figure<Gauge>; 11] = [
    ("tocsin_gateway_users", "Users with a connection, by shard added up.", |shard| &shard.users),
    ("tocsin_gateway_topics", "Topics with a subscriber, by shard added up.", |shard| &shard.topics),
    ("tocsin_gateway_outbox_bytes", "Bytes that sockets are owed.", |shard| &shard.outbox_bytes),
    ("tocsin_gateway_links_ready", "Links to routers that stand.", |shard| &shard.links_ready),
    ("tocsin_gateway_ring_capacity", "Connections the rings have room for.", |shard| &shard.ring.capacity),
    ("tocsin_gateway_ring_enters", "io_uring_enter calls.", |shard| &shard.ring.enters),
    ("tocsin_gateway_ring_completions", "Completions handled.", |shard| &shard.ring.completions),
    ("tocsin_gateway_ring_overflows", "Completion queue overflows.", |shard| &shard.ring.overflows),
    ("tocsin_gateway_ring_accept_errors", "Accepts that failed.", |shard| &shard.ring.accept_errors),
    ("tocsin_gateway_ring_send_errors", "Sends that failed.", |shard| &shard.ring.send_errors),
    ("tocsin_gateway_ring_waits", "Times a shard slept.", |shard| &shard.ring.waits),
];

/// The page of a whole node.
pub fn render(admission: &Admission, shards: &[&ShardMetrics]) -> String {
    let mut text = Text::new();
    let sum = |of: &dyn Fn(&ShardMetrics) -> u64| shards.iter().map(|shard| of(shard)).sum::<u64>();
    text.gauge("tocsin_gateway_connections", "Sockets that hold a place.", &[], admission.live());
    for (transport, open) in [("websocket", 0), ("events", 1)] {
        let value =
            sum(&|shard| if open == 0 { shard.open_websockets.get() } else { shard.open_events.get() });
        text.gauge("tocsin_gateway_open", "Open sessions.", &[("transport", transport)], value);
    }
    for (place, verdict) in VERDICTS.iter().enumerate() {
        let value = sum(&|shard| shard.admission[place].get());
        let help = "Connections by what admission said.";
        text.counter("tocsin_gateway_admission_total", help, &[("verdict", verdict)], value);
    }
    for (place, how) in PROXIED.iter().enumerate() {
        let value = sum(&|shard| shard.proxied[place].get());
        let help = "Connections of trusted proxies by what was said about the client.";
        text.counter("tocsin_gateway_proxied_total", help, &[("how", how)], value);
    }
    for (outcome, label) in Handshake::ALL {
        let value = sum(&|shard| shard.handshakes[outcome as usize].get());
        let help = "First requests by how they ended.";
        text.counter("tocsin_gateway_handshakes_total", help, &[("outcome", label)], value);
    }
    for (place, code) in CloseCode::ALL.iter().enumerate() {
        let value = sum(&|shard| shard.closes[place].get());
        let code = code.number().to_string();
        text.counter("tocsin_gateway_closes_total", "Sessions closed by us.", &[("code", &code)], value);
    }
    tls::render(&mut text, &shards.iter().map(|shard| &shard.tls).collect::<Vec<_>>());
    for (name, help, of) in COUNTERS {
        text.counter(name, help, &[], sum(&|shard| of(shard).get()));
    }
    for (name, help, of) in GAUGES {
        text.gauge(name, help, &[], sum(&|shard| of(shard).get()));
    }
    for (number, shard) in shards.iter().enumerate() {
        let help = "From a broadcast's arrival to its last outbox.";
        let labels = [("shard", &*number.to_string())];
        text.histogram("tocsin_gateway_fanout_seconds", help, &labels, &shard.fanout_seconds);
    }
    text.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::AdmissionLimits;

    #[test]
    fn the_page_has_what_the_contract_names_and_adds_shards_up() {
        let admission = Admission::new(AdmissionLimits { soft: 1, hard: 2, accept_rate: 10 });
        let shards = [ShardMetrics::default(), ShardMetrics::default()];
        shards[0].sends.add(3);
        shards[1].sends.add(4);
        shards[1].admitted(Verdict::Reset);
        shards[0].handshake(Handshake::Gone);
        shards[0].closed(CloseCode::SlowConsumer);
        let page = render(&admission, &shards.each_ref());
        for line in [
            "tocsin_gateway_connections 0",
            "tocsin_gateway_admission_total{verdict=\"hard\"} 1",
            "tocsin_gateway_handshakes_total{outcome=\"gone\"} 1",
            "tocsin_gateway_sends_total 7",
            "tocsin_gateway_send_bytes_total 0",
            "tocsin_gateway_slow_consumers_total 0",
            "tocsin_gateway_outbox_bytes 0",
            "tocsin_gateway_fanout_seconds_count{shard=\"1\"} 0",
            "tocsin_gateway_closes_total{code=\"4429\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing:\n{page}");
        }
    }

    #[test]
    fn each_outcome_has_its_own_counter() {
        for (place, (outcome, _)) in Handshake::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, place);
        }
    }
}
