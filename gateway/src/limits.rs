//! Every bound of the gateway that configuration does not set, with its unit. `wire::limits` has those that a
//! peer is told about; `config` has those that an operator sets.

use std::time::Duration;

/// Sockets that one turn of a fan-out visits, so that a large room delays nobody else: less than a millisecond of sends.
pub const FANOUT_SOCKETS_PER_TURN: usize = 128;
/// The same while single users are sent something.
pub const FANOUT_SOCKETS_BESIDE_OTHERS: usize = 32;
/// For how long after a delivery to one user the next one is reckoned with.
pub const FANOUT_HEEDS_OTHERS: Duration = Duration::from_secs(1);
/// Places of a room, taken or empty, that one turn of a fan-out looks at.
pub const FANOUT_PLACES_PER_TURN: usize = 16_384;
/// Broadcasts under way in a shard. Routers' credit keeps them below this.
pub const FANOUT_JOBS_MAX: usize = 8_192;
/// Frames one send hands to the kernel.
pub const FRAMES_PER_SEND_MAX: usize = 64;
/// Bytes one send hands to the kernel, unless its first frame alone is longer.
pub const BYTES_PER_SEND_MAX: usize = 256 * 1024;
/// Bytes that a socket's outbox takes over its budget for pongs, gaps and closes, which must not be lost.
pub const OUTBOX_RESERVE_BYTES: u32 = 4 * 1024;
/// What a queued frame is charged on top of its bytes: its node in the pool.
pub const NODE_CHARGE_BYTES: u32 = 40;

/// The last part (1/n) of a shard's outbox budget is for sockets that are owed nothing: who reads goes on while those
/// who do not use the rest up.
pub const READERS_RESERVE_FRACTION: u64 = 4;

/// How long a socket may stay over its outbox budget, or take nothing of a replay that waits for it, before it is
/// closed with 4429.
pub const SLOW_CONSUMER_GRACE: Duration = Duration::from_millis(7_500);
/// How long a closed connection may take to take its last frames and to close its side.
pub const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// How long before a deadline for the client its timer is due, so that it is closed by then.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(200);
/// Most of the time that a client whose lifetime is over is told to wait before it reconnects.
pub const LIFETIME_ADVICE_MAX: Duration = Duration::from_secs(1);
/// How long such a client has to move before it is closed with 1001.
pub const LIFETIME_GRACE: Duration = Duration::from_secs(10);
/// Connections whose lifetime ends in a second are at most this part (1/n) of what the node accepts in one.
pub const RETIRE_FRACTION: u64 = 10;
/// Pings are due this fraction (1/n) of the interval earlier at most, so that a storm's pings spread.
pub const PING_JITTER_FRACTION: u32 = 5;
/// Pings in a row that may go unanswered.
pub const MISSED_PONGS_MAX: u8 = 2;

/// Notifications remembered while a sync is under way on a connection, to take them out of its pages.
pub const SENT_WHILE_SYNCING_MAX: usize = 256;
/// How long a client may take to ask for the next page of a sync. Later it is taken to have given up: what it
/// was sent live meanwhile is forgotten, and may come again in a page.
pub const SYNC_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Pages that the replay of an event stream asks for before it tells the client to sync by itself.
pub const REPLAY_PAGES_MAX: u32 = 10_000;
/// How long an event stream waits for a page of its replay, or a posted message for its reply.
pub const REPLY_WAIT: Duration = Duration::from_secs(10);
/// How long an answered client may go on sending before its socket is closed, so that the answer is not lost
/// to a reset.
pub const LINGER_WAIT: Duration = Duration::from_millis(300);
/// Rest of an answered request's body that is read and thrown away, so that the answer is not lost to a
/// reset.
pub const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Deliveries that are remembered on a node with several routers, so that one which another router repeats is sent once.
pub const DOUBLES_MAX: usize = 65_536;

/// Due timers handled in one turn.
pub const TIMERS_PER_TURN: usize = 4_096;
/// Connections told or closed by a drain in one turn.
pub const DRAIN_PER_TURN: usize = 2_048;

/// Paid frames a router may send before it needs credit again.
pub const LINK_CREDIT_FRAMES: u32 = 8_192;
/// Credit is given back when this many frames were worked off.
pub const LINK_CREDIT_BATCH: u32 = 1_024;
/// Client messages waiting for a router's credit, or for a partition to have an owner, per shard.
pub const LINK_PENDING_MESSAGES_MAX: usize = 4_096;
/// How long a client message waits for an owner before its sender is told `busy`.
pub const LINK_PENDING_WAIT: Duration = Duration::from_secs(3);
/// `retry_after_ms` of `busy`.
pub const BUSY_RETRY_AFTER_MS: u64 = 2_000;
/// Frames queued for a router that does not take them; past this the link is cut and made anew.
pub const LINK_QUEUED_FRAMES_MAX: usize = 262_144;
/// Users looked at for a snapshot in one turn.
pub const SNAPSHOT_USERS_PER_TURN: usize = 4_096;
/// How often a link is pinged.
pub const LINK_PING_INTERVAL: Duration = Duration::from_secs(2);
/// Silence after which a link is dead.
pub const LINK_SILENCE_MAX: Duration = Duration::from_secs(7);
/// Longest pause between two attempts to reach a router.
pub const LINK_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// First pause between two attempts to reach a router.
pub const LINK_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Bytes that wait for a link's socket: past this, snapshots pause.
pub const LINK_CONGESTED_BYTES: usize = 1024 * 1024;
/// Bytes that wait for a link's socket: past this, the link is cut and made anew.
pub const LINK_OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Outputs carried out before the kernel is asked again for what happened.
pub const OUTPUTS_PER_TURN: usize = 8_192;
/// Longest sleep of a shard.
pub const WAIT_MAX: Duration = Duration::from_millis(250);
/// How long a drained shard waits for its last sockets to close.
pub const LAST_CLOSES_WAIT: Duration = Duration::from_millis(500);
/// Commands to a shard that it has not read yet. Most of them say which device connected to a sibling.
pub const COMMANDS_MAX: usize = 8_192;
/// Devices that a shard's siblings have not been told of yet, because their commands are full.
pub const NAMED_PENDING_MAX: usize = 65_536;
/// Bytes one connection brings in one turn, and so the pace of a link.
pub const RECV_BUFFER_BYTES: u32 = 32 * 1024;
/// Receive buffers of a shard.
pub const RECV_BUFFERS: u16 = 64;
/// Room in a shard's table beyond its share of the hard limit, for refusals, links and uneven shards.
pub const TABLE_MARGIN: u32 = 1_024;
/// Slots of a shard's table that no client may keep: for accepts that wait, for links, and for whoever is being
/// told that there is no room.
pub const TABLE_RESERVE: u32 = 192;
/// Bytes handed to a link's socket at a time.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;
/// Routers one gateway may be linked to.
pub const ROUTERS_MAX: usize = 64;
/// Partitions that a router's ownership map may have.
pub const PARTITIONS_MAX: u32 = 65_536;

/// `Retry-After` of a refusal, in whole seconds, drawn uniformly.
pub const RETRY_AFTER_S: std::ops::RangeInclusive<u64> = 5..=30;
/// An event stream's `retry:` is drawn from this on, up to `reconnect_spread_ms`.
pub const STREAM_RETRY_LEAST_MS: u64 = 100;
/// What counts for streams where `reconnect_spread_ms` is shorter.
pub const STREAM_SPREAD_LEAST_MS: u64 = 1_000;
/// The accept budget saves up this much of a second.
pub const ACCEPT_BURST: Duration = Duration::from_millis(250);

/// Sockets of one user or one address that can be counted, and so the highest cap.
pub const SOCKETS_COUNTED_MAX: u32 = 100_000;
/// Refusals of one full address that are under way at a time; what comes beyond is reset unread.
pub const REFUSALS_PER_ADDRESS_MAX: u32 = 64;
/// Peers or prefixes whose word about a client's address is taken.
pub const TRUSTED_PROXIES_MAX: usize = 256;

/// Bytes of one TLS record with its header (RFC 5246 §6.2.3), and the most that a session keeps of what it cannot read yet.
pub const TLS_RECORD_BYTES_MAX: usize = 16_384 + 2_048 + 5;
/// Messages of TLS handshakes answered in one turn: each may cost a signature (0.1 ms by ECDSA, 0.8 ms by RSA), and the
/// sockets that are open wait that long.
pub const TLS_HANDSHAKES_PER_TURN: usize = 4;
/// Pieces of handshakes looked at in one turn, answered or not.
pub const TLS_PIECES_PER_TURN: usize = 64;
/// Plaintext that one send of a TLS socket takes from its outbox; a longer frame goes piece by piece.
pub const TLS_SEND_BYTES: usize = 32 * 1024;
/// Records of all TLS sockets of a shard that the kernel has not taken; past it the next one waits, in its outbox.
pub const TLS_IN_FLIGHT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Records of one TLS socket that wait behind a send: handshake messages, alerts, key updates.
pub const TLS_WAITING_BYTES_MAX: usize = 128 * 1024;
/// Sessions remembered for clients of TLS 1.2 that take no tickets.
pub const TLS_SESSIONS_MAX: usize = 4_096;
/// Bytes of a certificate or key file.
pub const TLS_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A certificate that ends sooner than this is warned about.
pub const TLS_EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3_600);

/// Users whose posted messages are counted at a time, under one of the census's locks. Past this, who has not
/// posted lately waits for those who have.
pub const POSTERS_PER_LOCK_MAX: usize = 4_096;

/// Requests that the admin listener answers at one time.
pub const ADMIN_THREADS: usize = 4;
/// Bytes of a request to the admin listener.
pub const ADMIN_REQUEST_BYTES_MAX: usize = 8 * 1024;
/// How long a request to the admin listener may take, from its first byte to the last of its answer.
pub const ADMIN_REQUEST_WAIT: Duration = Duration::from_secs(2);
/// Connections waiting for the listener's attention (listen(2)).
pub const LISTEN_BACKLOG: i32 = 65_535;
/// Memory of one idle connection, kernel and user: what `tuning plan` counts with.
pub const CONNECTION_BYTES: u64 = 4_400;
/// Bytes of a key file.
pub const KEY_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Keys in a JWKS file.
pub const KEYS_MAX: usize = 64;
/// Shards of one process.
pub const SHARDS_MAX: usize = 256;

const _: () = assert!(LINK_CREDIT_FRAMES as usize <= FANOUT_JOBS_MAX);
const _: () = assert!(LINK_CREDIT_BATCH < LINK_CREDIT_FRAMES);
const _: () = assert!(TABLE_RESERVE < TABLE_MARGIN);
const _: () = assert!(ROUTERS_MAX + 128 <= TABLE_RESERVE as usize);
const _: () = assert!(
    CLOSE_GRACE.as_millis() + SLOW_CONSUMER_GRACE.as_millis() + DEADLINE_MARGIN.as_millis() <= 10_000
);
