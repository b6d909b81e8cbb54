//! Every bound of the router's porches, with its unit. The bounds of what crosses a socket to a client stand in
//! `wire::limits`.

use std::time::Duration;

use wire::limits::NOTIFICATION_BYTES_MAX;

// One request.

/// Bytes of one request body, and of one line of a batch. A list of the most users with the longest names fits.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// Bytes of a request for a one-use code.
pub const OTP_REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Users in one `to.users`.
pub const USERS_PER_REQUEST_MAX: usize = 1_000;
/// Bytes of a title.
pub const TITLE_BYTES_MAX: usize = 1_024;
/// Bytes of a body.
pub const BODY_BYTES_MAX: usize = 16 * 1_024;
/// Bytes of `data`, as JSON.
pub const DATA_BYTES_MAX: usize = 32 * 1_024;
/// How deep objects and lists may nest in a request.
pub const JSON_DEPTH_MAX: usize = 64;
/// Bytes of a category.
pub const CATEGORY_BYTES_MAX: usize = 64;
/// Bytes of a collapse key.
pub const COLLAPSE_KEY_BYTES_MAX: usize = 256;
/// Bytes of an Idempotency-Key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// The longest life of a notification. One without a life of its own goes by `[retention] inbox_days`.
pub const TTL_S_MAX: u32 = 90 * 24 * 3_600;
/// How far ahead a `send_at` may lie.
pub const SEND_AT_AHEAD_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// What is to be sent so soon is sent at once.
pub const SEND_AT_SLACK: Duration = Duration::from_secs(1);
/// The longest wait for an acknowledgement.
pub const ACK_WITHIN_S_MAX: u32 = 24 * 3_600;
/// What `fallback` waits for when the request names no `ack_within_s`.
pub const ACK_WITHIN_S_DEFAULT: u32 = 10;
/// Ids in one `POST …/inbox/read`.
pub const READ_IDS_MAX: usize = wire::limits::IDS_PER_MESSAGE_MAX;
/// Devices and browsers of one user that pushes go to.
pub const PUSH_REGISTRATIONS_MAX: usize = 20;
/// Categories that one user's preferences name.
pub const PREFERENCE_CATEGORIES_MAX: usize = 100;
/// Notifications that one letter carries; what is more goes in further ones.
pub const DIGEST_CARRIED_MAX: usize = 100;
/// Of what waits for one user and channel, rows that are looked at for one letter.
pub const DIGEST_LOOKED_AT_MAX: usize = 400;
/// The same of all users in one turn of the owner (and the letter that crosses it).
pub const DIGEST_ROWS_PER_TURN_MAX: usize = 1_024;
/// Of what it carries, how many a letter shows, and how many characters of each.
pub const DIGEST_LINES_MAX: usize = 5;
pub const DIGEST_LINE_CHARS_MAX: usize = 120;
/// Bytes of `[email] unsubscribe_url`.
pub const UNSUBSCRIBE_URL_BYTES_MAX: usize = 256;
/// Bytes of what a mail program posts there.
pub const UNSUBSCRIBE_BYTES_MAX: usize = 8 * 1024;
/// Templates of `[templates] dir`, and bytes of each.
pub const TEMPLATE_FILES_MAX: usize = 512;
pub const TEMPLATE_BYTES_MAX: u64 = 64 * 1024;
/// Steps of a template's engine for one part of a letter: a thousand rounds of a loop with twenty.
pub const TEMPLATE_FUEL: u64 = 20_000;
/// How deep one may nest.
pub const TEMPLATE_DEPTH_MAX: usize = 64;
/// Bytes that one makes: mail programs cut HTML that is longer than a tenth of a megabyte.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 128 * 1024;
/// Bytes of an e-mail address (RFC 5321).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Bytes of a registration token of FCM, of a device token of Apple's (not in hex), of a browser's endpoint.
pub const FCM_TOKEN_BYTES_MAX: usize = 4_096;
pub const APNS_TOKEN_BYTES_MAX: usize = 100;
pub const WEB_PUSH_ENDPOINT_BYTES_MAX: usize = 2_048;
/// Seconds that a ticket lives at most.
pub const TICKET_S_MAX: u32 = 60;
/// Items on one page of an answer.
pub const PAGE_MAX: usize = 200;
/// How long a request's body may take to arrive.
pub const BODY_WITHIN: Duration = Duration::from_secs(30);

// One batch.

/// Lines of one batch.
pub const BATCH_LINES_MAX: usize = 10_000;
/// Appends of one batch that wait for the journal at once.
pub const BATCH_IN_FLIGHT_MAX: usize = 512;
/// Bytes of one batch's lines that wait for the journal at once (and the line that crosses it).
pub const BATCH_IN_FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long a batch's body may take to arrive.
pub const BATCH_WITHIN: Duration = Duration::from_secs(300);

// The API's sockets.

/// Connections to the API's listener; more wait in the listen queue.
pub const API_CONNECTIONS_MAX: usize = 4_096;
/// Connections to the admin listener.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// How long a connection may say nothing before it is closed.
pub const API_IDLE: Duration = Duration::from_secs(60);
/// Requests that are being taken in at once; more get 503.
pub const INGEST_IN_FLIGHT_MAX: usize = 8_192;
/// `Retry-After` of a 503.
pub const RETRY_AFTER_S: u32 = 1;

// A migration to Kafka.

/// How long the brokers may say nothing before it gives up. What they have stays.
pub const MIGRATION_ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// One wait for records that are read back.
pub const MIGRATION_STEP: Duration = Duration::from_millis(100);
/// How long one that goes on waits for what its killed predecessor had sent.
pub const MIGRATION_SETTLES_WITHIN: Duration = Duration::from_secs(3);
/// Records that are appended at once, and their bytes (and the record that crosses them).
pub const MIGRATED_AT_ONCE_MAX: usize = 1_000;
pub const MIGRATED_AT_ONCE_BYTES_MAX: usize = 4 * 1024 * 1024;

// Links.

/// Links at once: shards of all gateway nodes.
pub const LINKS_MAX: usize = 1_024;
/// Paid frames that wait for one link's credit or socket.
pub const LINK_QUEUE_PAID_MAX: usize = 16_384;
/// Bytes that wait for one link. A link that has more to take is closed, and told everything anew.
pub const LINK_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that one write to a link may carry.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;
/// Client messages that a shard may send before the router has taken them.
pub const LINK_CREDIT_GRANTED: u32 = 4_096;
/// A link says something at least this often.
pub const LINK_PING_EVERY: Duration = Duration::from_secs(2);
/// A link that was silent for so long is dead.
pub const LINK_SILENCE_MAX: Duration = Duration::from_secs(7);
/// How long a new link may take to say hello.
pub const LINK_HELLO_WITHIN: Duration = Duration::from_secs(5);

// The owner's run loop.

/// Journal entries, link frames, outcomes and commands that are handled between two commits.
pub const TURN_INPUTS_MAX: usize = 512;
/// Deliveries that the journal entries of one turn may come to (and the entry that crosses it).
pub const TURN_DELIVERIES_MAX: usize = 4_096;
/// Journal entries read at once.
pub const READ_ENTRIES_MAX: usize = 256;
/// Batches of entries that wait for the owner.
pub const ENTRIES_QUEUE_MAX: usize = 2;
/// Frames, outcomes and commands that wait for the owner.
pub const INPUTS_QUEUE_MAX: usize = 8_192;
/// Provider calls that wait for a worker; while there are more, no journal entry is taken.
pub const PROVIDER_CALLS_WAITING_MAX: usize = 10_000;
/// Calls of one channel's provider at once.
pub const PROVIDER_CALLS_AT_ONCE_MAX: usize = 64;
/// Provider calls that wait for one channel's workers.
pub const PROVIDER_QUEUE_MAX: usize = 1_024;
/// Letters that wait for one account; what finds no room is tried again later.
pub const LANE_WAITING_MAX: usize = 4_096;
/// Letters a second of one account: `[provider.*] per_s`.
pub const LANE_PER_S_MAX: u32 = 100_000;
/// Letters that one account is asked to take at once.
pub const LANE_AT_ONCE_MAX: usize = 1_024;
/// One-use codes that operators are shown, the last ones.
pub const LADDERS_SHOWN_MAX: usize = 50;
/// How long a provider's errors are shown by their class, and characters of its code.
pub const PROVIDER_ERRORS_SHOWN: Duration = Duration::from_secs(300);
pub const PROVIDER_CODE_CHARS_MAX: usize = 40;
/// Phone numbers whose last hour of messages is remembered.
pub const CAPPED_NUMBERS_MAX: usize = 100_000;
/// How often what the owner wrote is forced to the disk, and the journal told. The store takes no batch meanwhile, so
/// oftener would be felt in the slowest deliveries.
pub const PERSIST_EVERY: Duration = Duration::from_secs(1);
/// How long the owner waits before it tries a failed commit again.
pub const COMMIT_RETRY: Duration = Duration::from_millis(500);
/// How long the reader waits before it tries a failed read again.
pub const READ_RETRY: Duration = Duration::from_millis(500);
/// How long a command's answer may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long erasing a person may take before the request is told to come again.
pub const ERASED_WITHIN: Duration = Duration::from_secs(60);
/// How long an orderly end may take before what is left is cut off.
pub const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);

/// Threads for looking things up in the store and for the disk.
pub const BLOCKING_THREADS_MAX: usize = 32;

// Real providers.

/// How long a connection to a provider may take, and its TLS as long again.
pub const CARRIER_CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long one letter may take; FCM asks for ten seconds at least.
pub const CARRIER_PATIENCE: Duration = Duration::from_secs(20);
/// How long the body of an answer may take whose head has come.
pub const CARRIER_BODY_WITHIN: Duration = Duration::from_secs(5);
/// How long a mail server may think about a mail whose text it has.
pub const CARRIER_MAIL_PATIENCE: Duration = Duration::from_secs(60);
/// Connections to one mail server.
pub const SMTP_CONNECTIONS_MAX: usize = 10;
/// How long a connection that nobody uses is kept: less than providers do, so that none closes while a request is on its way.
pub const CARRIER_IDLE: Duration = Duration::from_secs(20);
/// The same where one connection carries everything and says itself when it leaves: pushes come in bursts.
pub const CARRIER_STREAMS_IDLE: Duration = Duration::from_secs(15 * 60);
/// Requests to one push service at once.
pub const WEBPUSH_AT_ONCE_MAX: usize = 16;
/// How long a certificate of SNS that could not be had is not asked for again.
pub const SNS_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often a connection of many streams is asked whether it lives while requests wait, and how long it may take to say so.
pub const CARRIER_PING_EVERY: Duration = Duration::from_secs(5);
pub const CARRIER_PING_WITHIN: Duration = Duration::from_secs(5);
/// Connections that may say in turn that they did not process a request.
pub const CARRIER_REFUSED_TRIES: u32 = 3;
/// What is read of an answer.
pub const CARRIER_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What is repeated of a provider's words.
pub const CARRIER_DETAIL_CHARS: usize = 200;
/// The longest that a provider may ask us to wait.
pub const CARRIER_RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Push services whose tokens of ours are kept.
pub const WEBPUSH_ORIGINS_MAX: usize = 256;
/// Certificates of SNS that are kept.
pub const SNS_CERTIFICATES_MAX: usize = 16;
/// Bytes of what a provider tells afterwards: SNS sends 256 KiB at most, and JSON in JSON escapes.
pub const CALLBACK_BYTES_MAX: usize = 512 * 1024;
/// Segments of one short message; what is longer is cut.
pub const SMS_SEGMENTS_MAX: usize = 10;
/// What is read out of a letter.
pub const VOICE_CHARS_MAX: usize = 600;

// What is kept.

/// What the outbox provider keeps of each channel.
pub const OUTBOX_KEPT_MAX: u64 = 10_000;
/// Alerts that are kept to look at.
pub const ALERTS_KEPT_MAX: usize = 1_000;
/// How often alerts are looked at for somebody outside.
pub const WEBHOOK_LOOKED_EVERY: Duration = Duration::from_millis(500);
/// How long one message to the webhook may take.
pub const WEBHOOK_PATIENCE: Duration = Duration::from_secs(10);
/// How long the next attempt waits after one that failed: twice as long each time, up to the second.
pub const WEBHOOK_RETRY_MIN: Duration = Duration::from_secs(1);
pub const WEBHOOK_RETRY_MAX: Duration = Duration::from_secs(60);
/// Final outcomes that wait for one webhook or for the topic; beyond, they are told by the API alone.
pub const OUTCOMES_WAITING_MAX: u64 = 1_000_000;
/// Outcomes in one message, outcomes that are produced to the topic at once, and how often it is looked for new ones.
pub const OUTCOMES_PER_MESSAGE_MAX: usize = 256;
pub const OUTCOMES_PRODUCED_MAX: usize = 2_048;
pub const OUTCOMES_LOOKED_EVERY: Duration = Duration::from_millis(200);
/// Alerts in one message.
pub const WEBHOOK_ALERTS_MAX: usize = 64;
/// How long a notification without a life of its own stays in an inbox: `[retention] inbox_days`.
pub const INBOX_KEPT_DEFAULT: Duration = Duration::from_secs(90 * 24 * 3_600);
/// How long it can be looked up what became of a notification: `[retention] ledger_days`.
pub const LEDGER_KEPT_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Rows that the owner looks at in one turn to remove what was kept for long enough.
pub const SWEEP_ROWS_MAX: usize = 256;
/// Idempotency rows that one sweep deletes.
pub const IDEMPOTENCY_SWEEP_MAX: usize = 4_096;
/// Records that wait in the journal before somebody is told.
pub const JOURNAL_LAG_ALERT: u64 = 100_000;
/// How often expired idempotency rows are swept.
pub const IDEMPOTENCY_SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked at whether the journal takes anything, is damaged, or is read too slowly.
pub const JOURNAL_LOOKED_AT_EVERY: Duration = Duration::from_millis(500);
/// How often the brokers are asked whether they are there.
pub const BROKERS_ASKED_EVERY: Duration = Duration::from_secs(5);
/// How long their answer may take.
pub const BROKERS_ASKED_PATIENCE: Duration = Duration::from_secs(3);

// An outage of Kafka.

/// How often it is looked at how Kafka and the disk do.
pub const OUTAGE_LOOKED_AT_EVERY: Duration = Duration::from_millis(100);
/// Records under way without an acknowledgement for so long are an outage: what comes after them goes to the disk at once.
pub const OUTAGE_SILENCE_MAX: Duration = Duration::from_millis(500);
/// Records of the disk that are on their way to Kafka at once.
pub const DRAINED_AT_ONCE_MAX: usize = 256;
/// Records a second that a drain never exceeds: `[router.limits] drain_per_s`.
pub const DRAIN_PER_S_DEFAULT: u32 = 50_000;
/// How often the ledger is looked through for what the disk had promised, and how long a notification may take to get there.
pub const VERIFY_EVERY: Duration = Duration::from_millis(500);
pub const VERIFY_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for what is missing, and how many ids are named.
pub const MISSING_LOOKED_FOR_EVERY: Duration = Duration::from_secs(10);
pub const MISSING_IDS_SHOWN_MAX: usize = 100;

// Several routers on one Kafka.

/// How often a router has the brokers confirm that it is still a member under its generation.
pub const PROVEN_EVERY: Duration = Duration::from_secs(1);
/// How long that holds: nothing leaves the router, and nothing is answered, on an older proof.
pub const PROOF_HOLDS_FOR: Duration = Duration::from_secs(3);
/// How long a router that is told to give partitions up waits for provider calls that are out.
pub const LEAVES_WITHIN: Duration = Duration::from_secs(3);
/// Inputs that wait while a partition is between two assignments.
pub const PARKED_MAX: usize = 65_536;
/// Bytes of what clients say, and of snapshots, among them.
pub const PARKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a step of a transaction may take before all of it is tried again.
pub const TRANSACTION_WITHIN: Duration = Duration::from_secs(5);
/// How long the ledger may take to answer a question.
pub const LEDGER_ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Rows that are read of a ledger in one step, and how long a step without any may last.
pub const RESTORED_ROWS_PER_STEP: usize = 2_048;
pub const RESTORE_STEP: Duration = Duration::from_millis(20);
/// How long a step that cannot go on rests.
pub const RESTORE_RETRY: Duration = Duration::from_millis(200);
/// How long a ledger keeps its deletions, and how old a copy may be that is brought up to date rather than thrown away.
pub const LEDGER_DELETIONS_KEPT: Duration = Duration::from_secs(24 * 3_600);
pub const COPY_AGE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// Bytes of one row of the ledger: a dead letter in base64 fits.
pub const LEDGER_ROW_BYTES_MAX: usize = 2 * 1024 * 1024;

const _: () = assert!(PROVEN_EVERY.as_millis() < PROOF_HOLDS_FOR.as_millis());
const _: () = assert!(COPY_AGE_MAX.as_secs() < LEDGER_DELETIONS_KEPT.as_secs());

// Cassandra.

/// Bytes of names that wait on the disk for Cassandra: `[cassandra] queue_bytes_max`.
pub const PROJECTION_BYTES_DEFAULT: u64 = 4 * 1024 * 1024 * 1024;
/// Commits whose changes are read at once, and names that they may come to (and the commit that crosses it).
pub const PROJECTION_COMMITS_MAX: usize = 64;
pub const PROJECTION_NAMES_MAX: usize = 2_048;
/// Rows of the store that a rebuild carries at once.
pub const PROJECTION_REBUILD_ROWS: usize = 1_024;
/// How long names are kept behind what Cassandra took: by default a node that is killed forgets the last ten seconds.
pub const PROJECTION_HELD_FOR: Duration = Duration::from_secs(15);
/// How long the carrier sleeps when there is nothing to carry.
pub const PROJECTION_IDLE: Duration = Duration::from_millis(100);
/// How often Cassandra is tried while it is away, and asked while nothing is written.
pub const CASSANDRA_ASKED_EVERY: Duration = Duration::from_secs(2);
/// How long a first connection, with the check of the tables, may take.
pub const CASSANDRA_CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// How long a read may take, and a write.
pub const CASSANDRA_READ_WITHIN: Duration = Duration::from_secs(2);
pub const CASSANDRA_WRITE_WITHIN: Duration = Duration::from_secs(5);
/// A node that has not answered for so long is passed by: another is asked beside it.
pub const CASSANDRA_HUNG_AFTER: Duration = Duration::from_millis(250);
/// Partitions that are written at once.
pub const CASSANDRA_AT_ONCE_MAX: usize = 64;
/// Statements and bytes of one batch. Cassandra warns from 5 KiB on.
pub const CASSANDRA_BATCH_MAX: usize = 32;
pub const CASSANDRA_BATCH_BYTES_MAX: usize = 4 * 1024;
/// Rows of one answer.
pub const CASSANDRA_READ_ROWS: i32 = 128;
/// Clients' syncs that wait for Cassandra, and are asked of it at once.
pub const HISTORY_WAITING_MAX: usize = 4_096;
pub const HISTORY_AT_ONCE_MAX: usize = 64;
/// Stamps of an earlier router may lie so far ahead of our start.
pub const HISTORY_SLACK: Duration = Duration::from_secs(600);
/// How long an erasure's answer waits for Cassandra.
pub const ERASED_THERE_WITHIN: Duration = Duration::from_secs(10);

// Redis.

/// How long a connection to Redis may take to be made, and the answer to one command.
pub const REDIS_CONNECT_WITHIN: Duration = Duration::from_secs(3);
pub const REDIS_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked at whether Redis takes writes.
pub const REDIS_ASKED_EVERY: Duration = Duration::from_secs(1);
/// Records in the list of critical records: `[router.buffer] redis_max`.
pub const REDIS_LIST_DEFAULT: u64 = 1_000_000;
/// Records, and bytes of them, that are copied to the list at once.
pub const MIRRORED_AT_ONCE_MAX: usize = 256;
pub const MIRRORED_AT_ONCE_BYTES: usize = 1024 * 1024;
/// Values of the list that are processed at once, and bytes of them in one answer (and the value that crosses it).
pub const LIST_TAKEN_MAX: usize = 512;
pub const LIST_TAKEN_BYTES: usize = 8 * 1024 * 1024;
/// How often it is looked at what is in the list, and how long a failed step rests.
pub const LIST_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
pub const LIST_RETRY: Duration = Duration::from_millis(500);
/// How long after the disk was drained a promise of it that the ledger does not know is had from the list.
pub const RESCUE_PATIENCE: Duration = Duration::from_secs(3);
/// Values of the list that are no records and are kept aside.
pub const FOREIGN_KEPT_MAX: usize = 10_000;

const _: () = assert!(RESCUE_PATIENCE.as_secs() < VERIFY_PATIENCE.as_secs());
const _: () = assert!(TITLE_BYTES_MAX + BODY_BYTES_MAX + DATA_BYTES_MAX < NOTIFICATION_BYTES_MAX);
const _: () = assert!(USERS_PER_REQUEST_MAX * (wire::limits::NAME_BYTES_MAX + 3) < REQUEST_BYTES_MAX);
const _: () = assert!(LINK_QUEUE_BYTES_MAX > wire::limits::LINK_FRAME_BYTES_MAX);
const _: () =
    assert!(LINK_SILENCE_MAX.as_secs() > 2 * LINK_PING_EVERY.as_secs() && LINK_SILENCE_MAX.as_secs() < 10);
