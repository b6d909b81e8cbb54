//! Every bound of the load tester, with its unit. Called by all rooms.

use std::time::Duration;

/// Simulated clients of one run.
pub const CONNECTIONS_MAX: u32 = 4_000_000;
/// Threads that hold clients.
pub const THREADS_MAX: u16 = 256;
/// `--url`s of one run.
pub const URLS_MAX: usize = 64;
/// Source addresses of one run: a /8.
pub const SOURCES_MAX: u32 = 1 << 24;
/// Connects or messages a second.
pub const RATE_MAX: f64 = 1_000_000.0;
/// The longest run.
pub const FOR_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Messages of one run: one bit and four bytes each.
pub const MESSAGES_MAX: u64 = 50_000_000;
/// Messages of one run that go to all: they have more to remember.
pub const MESSAGES_TO_ALL_MAX: u64 = 1_000_000;
/// Bytes of a notification's body text: what the API takes.
pub const SIZE_MAX: usize = 16 * 1_024;
/// Threads that post to the API.
pub const POSTERS_MAX: u16 = 1_024;
/// Messages of one batch request.
pub const BATCH_MAX: u16 = 1_000;
/// Attempts of one client to get in, before it gives up.
pub const ATTEMPTS_MAX: u32 = 1_000;
/// Handshakes that one thread has begun and not ended; more wait, and their latency counts the waiting.
pub const HANDSHAKES_AT_ONCE_MAX: usize = 4_096;
/// How long a handshake may take, from connect to `welcome`.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(30);
/// Steps of 10 ms that a storm is remembered in: ten minutes.
pub const CURVE_STEPS_MAX: usize = 60_000;
/// The longest that a storm is watched.
pub const STORM_MAX: Duration = Duration::from_secs(600);
/// The farthest date that `--start-at` and `--cut-at` take.
pub const AHEAD_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Connections that one thread cuts in one turn of its loop.
pub const CUTS_A_TURN: u32 = 2_048;
/// How long after a connect that found no free slot it is tried again: slots of sockets that are closing come back in this time.
pub const SLOT_AGAIN: Duration = Duration::from_millis(5);
/// Nobody else is lost for this long: a storm is over when all are back then.
pub const STORM_QUIET: Duration = Duration::from_secs(2);
/// Server processes whose memory and CPU time are followed.
pub const SERVERS_MAX: usize = 8;
/// Reports that are added up in one go.
pub const REPORTS_MAX: usize = 256;
/// Bytes of a kept report.
pub const REPORT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a token file or a secret.
pub const SECRET_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of the bitmaps that say which socket has which message, one thread. Past it the oldest message is settled as it is.
pub const BITMAP_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of one message from a server: a page of the largest notifications.
pub const SERVER_MESSAGE_BYTES_MAX: usize = wire::limits::LINK_FRAME_BYTES_MAX;
/// How long after an acknowledgement a server may still refuse it as busy: a gateway does in three seconds.
pub const ACK_REFUSED_WITHIN: Duration = Duration::from_secs(6);
/// Acknowledgements that one thread keeps for that long; past it the oldest is taken as read.
pub const ACKS_UNSURE_MAX: usize = 65_536;
/// Refused acknowledgements that wait in one thread to be said again; more are given up, as errors.
pub const ACKS_REFUSED_MAX: usize = 262_144;
/// How often one acknowledgement is said at the most.
pub const ACK_TRIES_MAX: u32 = 10;
/// The longest that a server can put one off.
pub const ACK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);
/// What clients of event streams say at one time in one thread, each message on a connection of its own.
pub const ERRANDS_AT_ONCE: u32 = 256;
/// Messages that wait for one of those connections; more are given up, as errors.
pub const ERRANDS_WAITING_MAX: usize = 262_144;
/// When a message is said again of which nobody knows whether it was heard.
pub const ERRAND_AGAIN: Duration = Duration::from_secs(2);
/// Bytes of the server's answer to an upgrade.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Connections closed in one turn of the loop at the end, so that the loop goes on answering.
pub const CLOSES_A_TURN: u32 = 1_024;
/// Frames that one client is still to send; a server that never reads cannot make us keep more.
pub const CLIENT_QUEUE_MAX: usize = 64;
/// Kinds of errors that a report tells apart; the rest is counted as `other`.
pub const ERROR_KINDS_MAX: usize = 64;
/// How often a line is printed where there is no terminal.
pub const LINE_EVERY: Duration = Duration::from_secs(5);
/// How long the end of all connections may take.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// What one more goodbye may add before a thread counts as one that hangs: 600,000 on two cores beside their server take
/// more than the above.
pub const CLOSE_EACH: Duration = Duration::from_micros(100);

/// The longest loop turn of a load tester that is not the bottleneck, milliseconds; 1% of the time may pass in longer ones.
pub const LOOP_LAG_MS_MAX: f64 = 20.0;
/// The busiest a thread of a load tester may be that is not the bottleneck: share of one core.
pub const CPU_SHARE_MAX: f64 = 0.9;
/// The latest (99th percentile) a message may be posted after its intended time, milliseconds.
pub const SEND_LAG_MS_MAX: f64 = 20.0;

/// Servers of one comparison, and numbers of sockets.
pub const COMPARE_PEERS_MAX: usize = 16;
pub const COMPARE_ROUNDS_MAX: u32 = 100;
/// Sockets of one server in a comparison. Servers with a file descriptor each hold ~15,000 under a limit of 20,000.
pub const COMPARE_SOCKETS_MAX: u32 = 1_000_000;
/// Copies of one closed part of a comparison.
pub const COMPARE_COPIES_MAX: u64 = 100_000_000;

// Simulated providers.

/// Rules of all simulators.
pub const SIMULATED_RULES_MAX: usize = 1_000;
/// The longest that a rule lets wait.
pub const SIMULATED_WAIT_MS_MAX: u64 = 600_000;
/// Letters that are kept, and their bytes.
pub const SIMULATED_KEPT_MAX: usize = 20_000;
pub const SIMULATED_KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of one request.
pub const SIMULATED_REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an answer that is far too long.
pub const SIMULATED_HUGE_BYTES: usize = 8 * 1024 * 1024;
/// Connections of one simulator; more wait.
pub const SIMULATED_CONNECTIONS_MAX: usize = 1_024;
/// Access tokens that are remembered.
pub const SIMULATED_TOKENS_MAX: usize = 1_000;
