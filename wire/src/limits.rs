//! Every bound that a peer can run into, with its unit. Configuration may lower some of them.

/// Bytes of a request head: request line and headers.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Header lines in a request head.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a PROXY header. Its addresses need 52; the rest is room for extensions.
pub const PROXY_BYTES_MAX: usize = 4 * 1024;
/// Bytes of one message from a client, after reassembly.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Fragments of one message.
pub const FRAGMENTS_MAX: u32 = 16_384;
/// Bytes of a control frame's payload (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// Messages that one socket may send in a minute.
pub const MESSAGES_PER_MINUTE_MAX: u32 = 100;
/// Pings and pongs that one socket may send in a minute.
pub const CONTROLS_PER_MINUTE_MAX: u32 = 120;
/// Bytes of a user id, a topic name, a device name, an app name.
pub const NAME_BYTES_MAX: usize = 256;
/// Ids in one `ack`, `read` or `dismiss`.
pub const IDS_PER_MESSAGE_MAX: usize = 256;
/// Topics in one `subscribe` or `unsubscribe`.
pub const TOPICS_PER_MESSAGE_MAX: usize = 64;
/// Topics one user may be subscribed to.
pub const TOPICS_PER_USER_MAX: usize = 128;
/// Notifications on one page of a sync.
pub const SYNC_PAGE_MAX: usize = 50;
/// Bytes of a sync cursor.
pub const CURSOR_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a link frame, length prefix excluded. A page of the largest notifications fits.
pub const LINK_FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one notification as clients get it.
pub const NOTIFICATION_BYTES_MAX: usize = 64 * 1024;
/// Users named in one snapshot frame of a link.
pub const SNAPSHOT_USERS_MAX: usize = 1_024;

const _: () = assert!(SYNC_PAGE_MAX * NOTIFICATION_BYTES_MAX < LINK_FRAME_BYTES_MAX);
const _: () = assert!(SNAPSHOT_USERS_MAX * (NAME_BYTES_MAX + 2) < LINK_FRAME_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX < LINK_FRAME_BYTES_MAX);
