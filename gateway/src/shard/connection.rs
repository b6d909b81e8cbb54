//! One connection as the shard holds it, and the slab of all of them.
//!
//! An idle connection is one entry of [`CONNECTION_BYTES_MAX`] bytes or less; whatever is needed only for a
//! while (a half-read request, a replay, the ids of a sync) is boxed for that while. Never decides anything.
//! Called by the other files of `shard`.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use uuid::Uuid;
use wire::link::SessionKey;
use wire::session::{Rate, Session};
use wire::time::{Mono, Wall};

use crate::admission::Refusal;
use crate::limits;
use crate::shard::outbox::Queue;
use crate::shard::registry::UserId;
use crate::shard::request::Wish;

/// One occupant of one place in the table. The low 32 bits are the place, a dense index; the high 32 bits
/// differ for each occupant of it. It is also what routers know a session by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

impl Key {
    pub fn new(index: u32, generation: u32) -> Key {
        Key(u64::from(generation) << 32 | u64::from(index))
    }

    pub fn index(self) -> u32 {
        self.0 as u32
    }

    pub fn session(self) -> SessionKey {
        SessionKey(self.0)
    }
}

/// Bytes of a connection's entry.
pub const CONNECTION_BYTES_MAX: usize = 96;
const _: () = assert!(size_of::<Connection>() <= CONNECTION_BYTES_MAX);

/// A connection. `key` is meaningless while the state is `Free`.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) key: Key,
    pub(super) state: State,
    pub(super) queue: Queue,
    pub(super) extra: Option<Box<Extra>>,
    /// Messages, and pings and pongs, that it may still send.
    pub(super) messages: Rate,
    pub(super) controls: Rate,
    pub(super) user: UserId,
    /// Seconds since 1970 at which the client's proof ends; 0 is never.
    pub(super) expires_s: u32,
    /// Pings sent since anything was heard.
    pub(super) missed: u8,
    pub(super) flags: Flags,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) enum State {
    Free,
    /// Its request has not come whole.
    Head(Box<Head>),
    /// A router is asked whose ticket this is.
    Redeeming(Box<Redeeming>),
    WebSocket(Session),
    /// An event stream; boxed while what was missed is being replayed.
    Events(Option<Box<Replay>>),
    /// A posted message whose body has not come whole, or whose reply has not come.
    Posting(Box<Posting>),
    /// Answered or ended: what is queued goes out, what comes in is thrown away.
    Leaving,
}

/// Yes-or-no facts about a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags(u8);

impl Flags {
    /// Stands in the shard's list of sockets to send on.
    pub(super) const READY: u8 = 1;
    /// Over its outbox budget: `gap` is the last thing queued, and what comes is dropped.
    pub(super) const OVER: u8 = 2;
    /// The timer was set early to look at `OVER`, not for a ping.
    pub(super) const EARLY: u8 = 4;
    /// Closes once its outbox is empty.
    pub(super) const CLOSE_WHEN_SENT: u8 = 8;
    /// Counted as open, under its user.
    pub(super) const JOINED: u8 = 16;
    /// The porch was told to close it.
    pub(super) const CLOSED: u8 = 32;
    /// An event stream, when open.
    pub(super) const STREAM: u8 = 64;
    /// Admission reset it: it holds no place.
    pub(super) const UNCOUNTED: u8 = 128;

    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8) {
        self.0 |= flag;
    }

    pub(super) fn clear(&mut self, flag: u8) {
        self.0 &= !flag;
    }
}

/// Bytes that a connection with a device has beside its entry: an allocator gives 24 in 32.
const EXTRA_BYTES_MAX: usize = 24;
const _: () = assert!(size_of::<Extra>() <= EXTRA_BYTES_MAX);

/// What few connections have, or all have for a short while.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub(super) device: Option<Device>,
    passing: Option<Box<Passing>>,
}

/// Which of its user's devices a connection is, and when it said so. Kept for as long as it is connected, and so
/// as a number that stands for the name: a device is only ever compared with others of the same user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: DeviceName,
    pub(super) named_at: Mono,
}

/// A device's name as a hash of 64 bits, keyed for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceName(pub(super) NonZeroU64);

/// What a connection has while something is under way on it.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// The sync under way, if one is.
    pub(super) syncing: Option<Syncing>,
    /// Since when the outbox is over its budget.
    pub(super) over_since: Mono,
    /// Since when a frame or message of the client's is incomplete.
    pub(super) unfinished_since: Option<Mono>,
    /// Bytes thrown away since it was answered.
    pub(super) lingered_bytes: usize,
}

/// A client's sync, from the request that began it to its last page. One that fails or is abandoned simply
/// stays behind: whatever does not go on with its last page begins anew, and remembers nothing of it.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    /// Ids sent live since it began, to be taken out of its pages.
    pub(super) sent: Vec<Uuid>,
    /// The cursor of its last page. Who asks with it goes on; who asks twice asks again.
    pub(super) next_cursor: Option<String>,
    pub(super) asked_at: Mono,
}

impl Syncing {
    /// Whether its client has not asked on for so long that it is taken to be abandoned.
    pub(super) fn is_abandoned(&self, now: Mono) -> bool {
        now.since(self.asked_at) >= limits::SYNC_PAUSE_MAX
    }
}

/// A request that is being read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    /// The connection is refused; it is told so once it has said how it can be told.
    pub(super) refused: Option<Refusal>,
    pub(super) behind: Behind,
}

/// Whether somebody else may stand behind a connection's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// Nobody, or nobody that is asked for.
    Known,
    /// The peer is a trusted proxy: a PROXY header may come first. `bytes` has what there is of it.
    Proxy,
    /// A trusted proxy whose `X-Forwarded-For` counts.
    Forwarded,
}

/// A request whose ticket is with a router.
#[derive(Debug)]
pub(super) struct Redeeming {
    pub(super) wish: Wish,
    pub(super) ticket: String,
    /// Routers that were asked, a bit each.
    pub(super) asked: u64,
    /// What came behind the request's head.
    pub(super) early: Vec<u8>,
}

/// What an event stream is still told of the past.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// Ids sent live meanwhile, without an event id.
    pub(super) sent_live: Vec<Uuid>,
    pub(super) pages: u32,
    /// A page was asked for and has not come.
    pub(super) is_asked: bool,
    /// Since when `rest` waits for the client to read.
    pub(super) waits_since: Mono,
    /// Notifications of the last page that wait for room in the outbox.
    pub(super) rest: VecDeque<(String, Box<str>)>,
    /// Where the next page begins, once `rest` is out; `None`: the last page was the last.
    pub(super) next_cursor: Option<String>,
}

/// A posted message.
#[derive(Debug)]
pub(super) struct Posting {
    pub(super) user: String,
    pub(super) cors: Option<Box<str>>,
    pub(super) body: Vec<u8>,
    pub(super) body_bytes: usize,
}

impl Connection {
    fn free() -> Connection {
        Connection {
            key: Key(0),
            state: State::Free,
            queue: Queue::default(),
            extra: None,
            messages: Rate::new(),
            controls: Rate::new(),
            user: UserId(u32::MAX),
            expires_s: 0,
            missed: 0,
            flags: Flags::default(),
        }
    }

    pub(super) fn is_free(&self) -> bool {
        matches!(self.state, State::Free)
    }

    /// Whether notifications are for it.
    pub(super) fn is_open(&self) -> bool {
        self.flags.has(Flags::JOINED)
    }

    /// What is under way on it; begun with this call if nothing was.
    pub(super) fn passing(&mut self) -> &mut Passing {
        self.extra.get_or_insert_default().passing.get_or_insert_default()
    }

    /// What is under way on it, if anything is.
    pub(super) fn if_passing(&mut self) -> Option<&mut Passing> {
        self.extra.as_mut()?.passing.as_deref_mut()
    }

    /// Gives back the memory of what is no longer under way on an open connection.
    pub(super) fn give_back(&mut self, now: Mono) {
        let is_over = self.flags.has(Flags::OVER);
        let is_syncing = self.syncing(now).is_some();
        let Some(extra) = &mut self.extra else { return };
        let is_unfinished = extra.passing.as_ref().is_some_and(|passing| passing.unfinished_since.is_some());
        if !is_over && !is_syncing && !is_unfinished {
            extra.passing = None;
            if extra.device.is_none() {
                self.extra = None;
            }
        }
    }

    /// The sync under way. One that was abandoned is forgotten here.
    pub(super) fn syncing(&mut self, now: Mono) -> Option<&mut Syncing> {
        let passing = self.if_passing()?;
        if passing.syncing.as_ref().is_some_and(|syncing| syncing.is_abandoned(now)) {
            passing.syncing = None;
        }
        passing.syncing.as_mut()
    }

    pub(super) fn device(&self) -> Option<Device> {
        self.extra.as_ref()?.device
    }

    pub(super) fn has_expired(&self, now: Wall) -> bool {
        self.expires_s != 0 && i64::from(self.expires_s) * 1_000_000 <= now.0
    }
}

/// Entries of one page of the slab.
const PAGE: usize = 1_024;

/// All connections of a shard, by index. Pages come as they are first used, and stay.
#[derive(Debug, Default)]
pub(super) struct Slab {
    pages: Vec<Option<Box<[Connection]>>>,
    live: usize,
}

impl Slab {
    /// Takes a free place.
    pub(super) fn insert(&mut self, key: Key, state: State) -> &mut Connection {
        let index = key.index() as usize;
        if self.pages.len() <= index / PAGE {
            self.pages.resize_with(index / PAGE + 1, || None);
        }
        let page =
            self.pages[index / PAGE].get_or_insert_with(|| (0..PAGE).map(|_| Connection::free()).collect());
        let entry = &mut page[index % PAGE];
        assert!(entry.is_free(), "the ring gave a slot to two connections");
        *entry = Connection { key, state, ..Connection::free() };
        self.live += 1;
        entry
    }

    /// The connection of this key; `None` if it is gone.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Connection> {
        let entry = self.at(key.index())?;
        (entry.key == key).then_some(entry)
    }

    /// Whoever is in this place.
    pub(super) fn at(&mut self, index: u32) -> Option<&mut Connection> {
        let index = index as usize;
        let entry = &mut self.pages.get_mut(index / PAGE)?.as_mut()?[index % PAGE];
        (!entry.is_free()).then_some(entry)
    }

    /// Frees the place; its queue must have been cleared.
    pub(super) fn remove(&mut self, key: Key) {
        if let Some(entry) = self.get(key) {
            debug_assert!(entry.queue.is_empty(), "frames of a closed connection stay in the pool");
            *entry = Connection::free();
            self.live -= 1;
        }
    }

    /// Connections there are.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Every index is below this.
    pub(super) fn end(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_an_earlier_occupant_finds_nobody() {
        let mut slab = Slab::default();
        let old = Key::new(5, 1);
        slab.insert(old, State::Leaving);
        assert!(slab.get(old).is_some());
        slab.remove(old);
        assert!(slab.get(old).is_none());
        let new = Key::new(5, 2);
        slab.insert(new, State::Leaving);
        slab.remove(old);
        assert!(slab.get(old).is_none() && slab.get(new).is_some());
        assert_eq!((slab.live(), slab.end()), (1, 1_024));
        assert!(slab.get(Key::new(500_000, 1)).is_none());
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<State>() <= 24, "{}", size_of::<State>());
        assert!(size_of::<Connection>() <= 88, "{}", size_of::<Connection>());
    }
}
