//! The doors: how many accepts wait at each, on which ring, and when none should. Each accept reserves its slot beforehand
//! and brings the peer's address along, so the table can never be passed by one: what has no slot stays in the kernel's
//! backlog. Called by `rings` once a turn.

use std::cell::UnsafeCell;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use io_uring::squeue;
use socket2::{SockAddr, SockAddrStorage};

use crate::clock::{self, Nanos};
use crate::conn::DoorId;
use crate::ops::{self, Op, Tag};
use crate::ring::{Ring, Shared};

/// Pause after an accept that failed for want of files or memory, else the loop would burn the core on it.
const PAUSE_AFTER_FAILURE_NS: u64 = 20_000_000;

/// Listeners of one `Rings`: clients come in by plaintext and by TLS.
pub const DOORS_MAX: usize = 2;

/// One accept in the kernel. It writes `address` and `length` until the completion.
#[derive(Debug)]
struct Record {
    slot: u32,
    door: DoorId,
    address: UnsafeCell<SockAddrStorage>,
    length: UnsafeCell<libc::socklen_t>,
}

/// What a completed accept brought: its slot, the door and, if there is a socket, the peer.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) slot: u32,
    pub(crate) door: DoorId,
    pub(crate) peer: Option<SocketAddr>,
}

/// The accepts of one ring.
#[derive(Debug, Default)]
pub(crate) struct Accepts {
    #[expect(clippy::vec_box, reason = "the kernel holds a record's address while the vector grows")]
    records: Vec<Box<Record>>,
    free: Vec<u32>,
    armed: Vec<bool>,
}

impl Accepts {
    /// The submission of one more accept into `slot`.
    fn arm(&mut self, listener: i32, door: DoorId, slot: u32) -> squeue::Entry {
        let index = self.free.pop().unwrap_or_else(|| {
            self.records.push(Box::new(Record {
                slot,
                door,
                address: UnsafeCell::new(SockAddrStorage::zeroed()),
                length: UnsafeCell::new(0),
            }));
            self.armed.push(false);
            self.records.len() as u32 - 1
        });
        let record = &mut self.records[index as usize];
        (record.slot, record.door) = (slot, door);
        *record.length.get_mut() = size_of::<SockAddrStorage>() as libc::socklen_t;
        self.armed[index as usize] = true;
        let (address, length) = (record.address.get(), record.length.get());
        ops::accept(listener, address.cast(), length, slot, Tag::new(Op::Accept, index, 0))
    }

    /// The accept of record `index` completed.
    pub(crate) fn complete(&mut self, index: u32) -> Taken {
        let record = &mut self.records[index as usize];
        debug_assert!(self.armed[index as usize], "one completion for each accept");
        self.armed[index as usize] = false;
        self.free.push(index);
        let address = std::mem::replace(record.address.get_mut(), SockAddrStorage::zeroed());
        let length = (*record.length.get_mut()).min(size_of::<SockAddrStorage>() as libc::socklen_t);
        // SAFETY: the kernel wrote `length` bytes of a socket address, or nothing: all zero is an address of no family.
        let address = unsafe { SockAddr::new(address, length) };
        Taken { slot: record.slot, door: record.door, peer: address.as_socket() }
    }

    /// The accepts in the kernel.
    pub(crate) fn armed(&self) -> Vec<Tag> {
        let indices = self.armed.iter().enumerate().filter(|(_, armed)| **armed);
        indices.map(|(index, _)| Tag::new(Op::Accept, index as u32, 0)).collect()
    }
}

/// The listeners of a shard's rings.
#[derive(Debug)]
pub(crate) struct Doors {
    listeners: Vec<TcpListener>,
    open: bool,
    /// The ring that accepts are armed on. It is filled before the next.
    ring: usize,
    /// Accepts that wait at each door.
    window: u32,
    pause_until: Option<Nanos>,
}

impl Doors {
    pub(crate) fn new(window: u16) -> Doors {
        Doors { listeners: Vec::new(), open: true, ring: 0, window: u32::from(window), pause_until: None }
    }

    pub(crate) fn hang(&mut self, listener: TcpListener) -> DoorId {
        assert!(self.listeners.len() < DOORS_MAX, "at most {DOORS_MAX} listeners for each Rings");
        self.listeners.push(listener);
        DoorId(self.listeners.len() as u8 - 1)
    }

    pub(crate) fn set_open(&mut self, open: bool, rings: &mut [Ring], shared: &mut Shared) {
        if self.open == open {
            return;
        }
        self.open = open;
        if !open {
            for ring in rings {
                for tag in ring.accepts.armed() {
                    ring.push(&ops::cancel(tag), shared);
                }
            }
        }
    }

    /// Keeps a window of accepts armed at each door while there are slots. The door where the fewest wait comes first, so that
    /// the last slots are not all held where nobody knocks.
    pub(crate) fn arm(&mut self, rings: &mut [Ring], shared: &mut Shared) {
        if !self.open || self.emptiest(shared).is_none() || self.pausing(shared) {
            return;
        }
        while let Some(door) = self.emptiest(shared) {
            if rings[self.ring].slots.free() == 0 {
                let Some(roomiest) = roomiest(rings) else { return };
                self.ring = roomiest;
            }
            let ring = &mut rings[self.ring];
            let slot = ring.slots.take().expect("it has a free one");
            let listener = self.listeners[usize::from(door.0)].as_raw_fd();
            let entry = ring.accepts.arm(listener, door, slot);
            shared.accepts_armed[usize::from(door.0)] += 1;
            ring.push(&entry, shared);
        }
    }

    /// The door with the fewest accepts armed, unless each has its window.
    fn emptiest(&self, shared: &Shared) -> Option<DoorId> {
        let armed = shared.accepts_armed.iter().take(self.listeners.len()).enumerate();
        let (door, armed) = armed.min_by_key(|(_, armed)| **armed)?;
        (*armed < self.window).then_some(DoorId(door as u8))
    }

    /// The moment before which no accept is armed: a sleep must not outlast it.
    pub(crate) fn pause_until(&self) -> Option<Nanos> {
        self.pause_until
    }

    fn pausing(&mut self, shared: &mut Shared) -> bool {
        if let Some(errno) = shared.accept_failure.take() {
            let error = std::io::Error::from_raw_os_error(errno);
            tracing::warn!(%error, "cannot accept connections; trying again in 20 ms");
            self.pause_until = Some(Nanos(clock::now().0 + PAUSE_AFTER_FAILURE_NS));
        }
        let Some(until) = self.pause_until else { return false };
        if clock::now() < until {
            return true;
        }
        self.pause_until = None;
        false
    }
}

/// The ring with the most free slots, if any has one.
pub(crate) fn roomiest(rings: &[Ring]) -> Option<usize> {
    let (index, ring) = rings.iter().enumerate().max_by_key(|(_, ring)| ring.slots.free())?;
    (ring.slots.free() > 0).then_some(index)
}
