//! What a connection costs, as measured: the constants that `plan` multiplies and that `check` holds the host's memory
//! against, each with its source. Pure.
//!
//! All figures are from 2-core, 24 GiB virtual machines with Linux 6.18 (x86-64). A new measurement changes them here and
//! nowhere else.

/// A constant and where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub value: u64,
    pub source: &'static str,
}

const fn measured(value: u64, source: &'static str) -> Measured {
    Measured { value, source }
}

/// Kernel bytes of an idle accepted TCP socket.
pub const SERVER_SOCKET_BYTES: Measured = measured(
    3_830,
    "slab growth an accepted socket, Linux 6.18: tcp_sock 2,368 + sock_inode 832 + dentry 192 + file 192 + security 56, and slack",
);
/// What the connecting end costs more than the accepting one.
pub const CLIENT_EXTRA_BYTES: Measured = measured(256, "slab growth a connecting socket, Linux 6.18");
/// An armed poll and its node in the ring's file table.
pub const INTEREST_BYTES: Measured =
    measured(296, "an armed io_uring poll 256 B, a node of the file table ~40 B, Linux 6.18");
/// The gateway's own memory of one idle connection: the promise that its tests hold it to.
pub const GATEWAY_USER_BYTES: Measured = measured(
    256,
    "bound of the gateway (183 B found between 20,000 and 80,000 connections, ARCHITECTURE.md)",
);
/// The load tester's own memory of one client.
pub const LOADTEST_USER_BYTES: Measured = measured(256, "bound of the load tester's client state");
/// User memory that TLS adds to an idle connection.
pub const TLS_USER_BYTES: Measured =
    measured(6_000, "bound of an idle rustls session that gave its buffers back (8.4 KB with them)");
/// CPU of one message to one socket, nanoseconds.
pub const MESSAGE_NS: Measured =
    measured(8_200, "io_uring batches of sends over 10,000 loopback sockets: 8.2 µs (5.5 over 1,000)");
/// CPU of one plaintext handshake, nanoseconds.
pub const HANDSHAKE_NS: Measured =
    measured(50_000, "gateway and router together, 10,000 connections at 20,000/s (ARCHITECTURE.md)");
/// CPU of one ping and its pong, nanoseconds.
pub const PING_NS: Measured = measured(6_000, "an echo of 64 B over io_uring, one core: 5.7–6.4 µs");
/// Seconds between two pings to one client.
pub const PING_EVERY_S: Measured = measured(25, "default of gateway.ping_interval_ms");
/// Handshakes a second that a node admits.
pub const ACCEPT_RATE: Measured = measured(20_000, "default of gateway.accept_rate");
/// Slots of a ring's table.
pub const SLOTS_PER_RING: Measured =
    measured(16_384, "gateway-ring: above it, cancelling a poll among the others costs more than a ring");
/// File descriptors that rings leave to everything else in the process.
pub const FDS_SPARE: Measured = measured(256, "gateway-ring's own reserve");
/// Locked memory of one executor, KiB.
pub const EXECUTOR_LOCKED_KIB: Measured =
    measured(320, "glommio's three rings and their registered buffers, by lowering ulimit -l");
/// Locked memory of one ring with its largest queues, KiB.
pub const RING_LOCKED_KIB: Measured =
    measured(166, "512 submissions, 8,192 completions: 165 KiB a ring by lowering ulimit -l on Linux 6.18");
/// Clients of one thread of the load tester.
pub const CLIENTS_PER_THREAD: Measured = measured(20_000, "loadtest takes a second core from there on");
/// Ports that a source address uses before finding a free one costs noticeable time: half of the range.
pub const PORTS_FILLED_PERCENT: Measured = measured(50, "loadtest's own choice of loopback addresses");
/// Usable ephemeral ports of the widened range.
pub const PORTS: Measured = measured(64_512, "net.ipv4.ip_local_port_range = 1024 65535");
/// Share of a core that planned work may fill; the rest is for storms.
pub const CORE_FILLED_PERCENT: Measured = measured(60, "head room: a storm of handshakes comes on top");
/// Programs, journals, page tables and everything else, bytes.
pub const BASE_BYTES: Measured = measured(512 << 20, "a gateway with its router, empty, and head room");
/// Bytes that one shard may owe its sockets.
pub const OUTBOX_SHARD_BYTES: Measured = measured(1 << 30, "default of gateway.limits.outbox_shard_bytes");

/// Memory of one idle connection on a gateway, kernel and user.
pub fn gateway_connection_bytes(tls: bool) -> u64 {
    let tls = if tls { TLS_USER_BYTES.value } else { 0 };
    SERVER_SOCKET_BYTES.value + INTEREST_BYTES.value + GATEWAY_USER_BYTES.value + tls
}

/// Memory of one idle client of a load tester, kernel and user.
pub fn loadtest_connection_bytes() -> u64 {
    SERVER_SOCKET_BYTES.value + CLIENT_EXTRA_BYTES.value + INTEREST_BYTES.value + LOADTEST_USER_BYTES.value
}
