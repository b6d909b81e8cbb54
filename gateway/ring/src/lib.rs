//! The io_uring porch under every client socket: rings with direct descriptors, joined in one thread by an eventfd.
//!
//! It owns the kernel's file tables, the submission and completion queues, the receive scratch and the frames that are
//! being sent. It knows nothing of WebSocket, users or notifications, keeps no queue of unsent data (one send in flight a
//! connection, the rest is the caller's outbox) and never blocks in [`Rings::turn`]. It is the only code in the workspace
//! that may use `unsafe`.
//!
//! Called by the gateway's shards (server role) and by the load tester (client role):
//!
//! ```text
//! loop {
//!     let events = rings.turn(&mut |event| note(event));
//!     act(&mut rings);                                      // send, close, connect, …
//!     if events == 0 { rings.wait(at_most).await } else { rings.give_way().await }
//! }
//! ```
//!
//! The walk of a connection: `accept` reserves a slot → the kernel installs the socket in it → [`Event::Accepted`] →
//! `poll` waits without a buffer → `read` borrows a scratch buffer → [`Event::Received`] → `close` cancels what is armed →
//! [`Event::Closed`], and only then is the slot given to somebody else.

mod accept;
mod clock;
mod config;
mod conn;
mod connect;
mod handle;
mod open;
mod ops;
mod ring;
mod rings;
mod scratch;
mod sends;
mod slots;
mod stats;
mod wait;

pub use accept::DOORS_MAX;
pub use config::{RingConfig, Table, memlock_least, nofile_least};
pub use conn::{Conn, DoorId, Event, SendOutcome};
pub use connect::ConnectError;
pub use open::{OpenError, bind, executor, probe, raise_memlock, raise_nofile};
pub use rings::Rings;
pub use sends::FRAMES_PER_SEND_MAX;
pub use stats::RingStats;
pub use wait::Notifier;
