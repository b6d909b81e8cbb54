//! A connection's handle and what is said about it. Values only; no kernel, no memory.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// One occupant of one slot. Handles of earlier occupants stay dead: the generation is 32 bits wide for each slot.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conn(u64);

impl Conn {
    pub(crate) fn new(index: u32, generation: u32) -> Conn {
        Conn(u64::from(generation) << 32 | u64::from(index))
    }

    /// Dense index, below [`crate::Table::capacity`]: slot within ring plus the slots of the rings before it.
    pub fn index(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    /// Unique for each occupant, never zero.
    pub fn key(self) -> u64 {
        self.0
    }

    pub fn from_key(key: u64) -> Conn {
        Conn(key)
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({}#{})", self.index(), self.generation())
    }
}

/// One of the listeners of a [`crate::Rings`]: what its `listen` returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DoorId(pub(crate) u8);

/// What [`crate::Rings::turn`] reports. After the caller's `close` only `Closed` follows.
#[derive(Debug)]
pub enum Event<'a> {
    /// Server role: a client arrived through this door.
    Accepted { conn: Conn, peer: SocketAddr, door: DoorId },
    /// Client role: `connect` succeeded.
    Connected { conn: Conn },
    /// Client role: `connect` failed. The slot is freed, no `Closed` follows.
    ConnectFailed { conn: Conn, error: io::Error },
    /// Bytes arrived, at most one scratch buffer a connection and turn. The buffer is the ring's again when the callback
    /// returns; it may be changed in place (unmasking).
    Received { conn: Conn, data: &'a mut [u8] },
    /// The peer closed its side (`None`) or the socket failed. Nothing more is received; the caller must still `close`.
    Ended { conn: Conn, error: Option<io::Error> },
    /// All frames of the last `send` are with the kernel; the next `send` may follow.
    Sent { conn: Conn },
    /// The last `send` failed; the caller should `close`.
    SendFailed { conn: Conn, error: io::Error },
    /// The slot is free, the handle dead. Always the last event of a connection.
    Closed { conn: Conn },
}

/// What became of a call to [`crate::Rings::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// This many frames were taken from the iterator; `Sent` or `SendFailed` follows.
    Sending { frames: usize, bytes: usize },
    /// The iterator had no bytes to give. Nothing follows.
    Nothing,
    /// The last send has not completed (or the connection is not up yet). The iterator was not touched.
    Busy,
    /// The handle is dead or closing. The iterator was not touched.
    Stale,
}
