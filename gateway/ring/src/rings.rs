//! All rings of one shard behind one set of handles: the crate's front. It owns no policy: whom to admit, what to send and
//! when to give up are the caller's. Called by the gateway's and the load tester's I/O loops, from one thread.

use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;

use crate::accept::{DOORS_MAX, Doors, roomiest};
use crate::clock::{self, Nanos};
use crate::config::{Plan, RingConfig, Table};
use crate::conn::{Conn, DoorId, Event, SendOutcome};
use crate::connect::{self, Addresses, ConnectError};
use crate::open::{self, OpenError};
use crate::ops::{self, Op};
use crate::ring::{Ring, Shared};
use crate::scratch::Scratch;
use crate::sends::{Recorded, Sends};
use crate::slots::{CLOSING, CONNECTING, RESET, SENDING};
use crate::stats::RingStats;
use crate::wait::Doorbell;

/// The rings of one shard. Bound to the thread that opened it (`!Send`): the kernel takes submissions from that one only.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the rings are called rings")]
pub struct Rings {
    pub(crate) rings: Vec<Ring>,
    /// Apart from the rings in memory that outlives them: see `drop`.
    pub(crate) shared: ManuallyDrop<Box<Shared>>,
    pub(crate) doors: Doors,
    pub(crate) doorbell: Doorbell,
    pub(crate) spin: Duration,
    pub(crate) sleep_max: Duration,
    /// When glommio's other tasks last had the thread.
    pub(crate) gave_way: Nanos,
    plan: Plan,
    turn_completions: usize,
    /// The ring that the next turn begins with.
    first: usize,
    not_send: PhantomData<*const ()>,
}

impl Rings {
    /// Opens the rings and their tables, as many as the limits allow; [`Rings::table`] says how many that was.
    pub fn open(config: &RingConfig) -> Result<Rings, OpenError> {
        if let Some(fault) = config.fault() {
            return Err(OpenError::Config(fault));
        }
        let nofile = open::raise_nofile()
            .map_err(|why| OpenError::Other { what: "read the file-descriptor limit", why })?;
        let memlock = open::raise_memlock()
            .map_err(|why| OpenError::Other { what: "read the limit on locked memory", why })?;
        let plan = config.plan(nofile, memlock);
        let doorbell =
            Doorbell::new().map_err(|why| OpenError::Other { what: "open an eventfd for the rings", why })?;
        let mut rings = Vec::with_capacity(plan.rings as usize);
        for number in 0..plan.rings {
            let io = open::open_ring(config, &plan, number, doorbell.descriptor())?;
            let mut ring = Ring::new(io, number * plan.slots_per_ring, plan.slots_per_ring);
            ring.set_bell(false);
            rings.push(ring);
        }
        let shared = Shared {
            sends: Sends::default(),
            scratch: Scratch::new(config.recv_buffers, config.recv_buffer_bytes),
            addresses: Addresses::default(),
            stats: RingStats::default(),
            accepts_armed: [0; DOORS_MAX],
            accept_failure: None,
        };
        Ok(Rings {
            rings,
            shared: ManuallyDrop::new(Box::new(shared)),
            doors: Doors::new(config.accepts),
            doorbell,
            spin: config.spin,
            sleep_max: config.sleep_max,
            gave_way: clock::now(),
            plan,
            turn_completions: config.turn_completions as usize,
            first: 0,
            not_send: PhantomData,
        })
    }

    pub fn table(&self) -> Table {
        let live = self.rings.iter().map(|ring| ring.slots.live()).sum();
        let completions = self.rings.iter().map(Ring::completions).min();
        Table { completions: completions.unwrap_or_default(), ..self.plan.table(live) }
    }

    pub fn stats(&self) -> RingStats {
        self.shared.stats
    }

    /// Takes connections from `listener` from the next turn on, as long as there are slots; up to [`DOORS_MAX`] listeners.
    /// What has no slot waits in the listener's backlog.
    pub fn listen(&mut self, listener: TcpListener) -> io::Result<DoorId> {
        // Accepted sockets inherit it. A listener that does not block would make every accept fail at once.
        SockRef::from(&listener).set_tcp_nodelay(true)?;
        listener.set_nonblocking(false)?;
        Ok(self.doors.hang(listener))
    }

    /// Stops (or goes on) taking connections. Those that the kernel had taken already may still be reported.
    pub fn set_accepting(&mut self, on: bool) {
        self.doors.set_open(on, &mut self.rings, &mut self.shared);
    }

    /// Submits what is queued, runs what the kernel deferred, reports what happened: at most about
    /// [`RingConfig::turn_completions`] completions over all rings. Never blocks. Returns the number of events.
    pub fn turn(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> usize {
        let Rings { rings, shared, doors, .. } = self;
        doors.arm(rings, shared);
        let count = rings.len();
        let mut budget = self.turn_completions;
        let mut events = 0;
        for step in 0..count {
            let index = (self.first + step) % count;
            let ring = &mut rings[index];
            if !ring.ready() {
                continue;
            }
            let (handled, reported) = ring.turn(budget, shared, on_event);
            events += reported;
            budget = budget.saturating_sub(handled);
            if budget == 0 {
                // The next turn begins behind the busy one.
                self.first = (index + 1) % count;
                break;
            }
        }
        events
    }

    /// Is there anything for `turn` to do?
    pub(crate) fn ready(&mut self) -> bool {
        self.rings.iter_mut().any(Ring::ready)
    }

    /// Begins to send frames, up to [`crate::FRAMES_PER_SEND_MAX`] of them in one go, in order and whole. One send at a time for
    /// each connection: after `Sending`, wait for [`Event::Sent`]. Goes to the kernel when the submission queue is full, at the
    /// latest with the next turn.
    pub fn send(&mut self, conn: Conn, frames: &mut dyn Iterator<Item = Bytes>) -> SendOutcome {
        let Some((ring, index)) = self.place(conn) else { return SendOutcome::Stale };
        let ring = &mut self.rings[ring];
        let slot = ring.slots.at(index);
        if slot.is(SENDING | CONNECTING) {
            return SendOutcome::Busy;
        }
        let Some(Recorded { link, frames, bytes }) = self.shared.sends.record(frames) else {
            return SendOutcome::Nothing;
        };
        slot.set(SENDING);
        slot.link = link;
        let tag = ring.tag(Op::Send, index);
        let entry = self.shared.sends.entry(link, index, tag);
        ring.push(&entry, &mut self.shared);
        SendOutcome::Sending { frames, bytes }
    }

    /// Gives the kernel what is queued, now and not with the next turn; what it answers is the turn's.
    pub fn submit(&mut self) {
        let Rings { rings, shared, .. } = self;
        for ring in rings {
            ring.submit(shared);
        }
    }

    /// Cancels what is armed, a send in flight too, and closes. [`Event::Closed`] follows when the slot is free; nothing else is
    /// reported of this connection any more. On a dead or closing handle nothing happens.
    pub fn close(&mut self, conn: Conn) {
        self.close_as(conn, 0);
    }

    /// The same with a reset instead of an orderly end: nothing lingers in the kernel. For refusals and for the
    /// client role. Before Linux 6.7 it is an orderly end.
    pub fn close_hard(&mut self, conn: Conn) {
        self.close_as(conn, RESET);
    }

    fn close_as(&mut self, conn: Conn, flags: u16) {
        let Some((ring, index)) = self.place(conn) else { return };
        self.rings[ring].begin_close(index, flags, &mut self.shared);
    }

    /// Holds reading back: the peer's window fills, then it waits. At most what is already read in this turn still comes.
    pub fn pause_reading(&mut self, conn: Conn) {
        self.set_paused(conn, true);
    }

    pub fn resume_reading(&mut self, conn: Conn) {
        self.set_paused(conn, false);
    }

    fn set_paused(&mut self, conn: Conn, paused: bool) {
        let Some((ring, index)) = self.place(conn) else { return };
        self.rings[ring].set_paused(index, paused);
    }

    /// Client role: begins to connect, from a given source address if there is one (its port is chosen by the kernel).
    /// [`Event::Connected`] or [`Event::ConnectFailed`] follows.
    pub fn connect(&mut self, from: Option<IpAddr>, to: SocketAddr) -> Result<Conn, ConnectError> {
        let ring = self.ring_for_connect().ok_or(ConnectError::Full)?;
        let socket = connect::socket(from, to)?;
        let ring = &mut self.rings[ring];
        let index = ring.take_and_install(socket.as_raw_fd())?;
        let link = self.shared.addresses.keep(to);
        ring.slots.occupy(index, CONNECTING).link = link;
        let tag = ring.tag(Op::Connect, index);
        let (address, length) = self.shared.addresses.at(link);
        ring.push(&ops::connect(index, address, length, tag), &mut self.shared);
        Ok(ring.conn(index))
    }

    /// Takes over a socket that is connected already: an inherited one, or a bench's. It is treated as an accepted one, without an
    /// `Accepted`.
    pub fn adopt(&mut self, socket: &TcpStream) -> Result<Conn, ConnectError> {
        let ring = self.ring_for_connect().ok_or(ConnectError::Full)?;
        let prepared = socket.set_nonblocking(false).and_then(|()| socket.set_nodelay(true));
        prepared.map_err(ConnectError::Install)?;
        let ring = &mut self.rings[ring];
        let index = ring.take_and_install(socket.as_raw_fd())?;
        ring.slots.occupy(index, 0);
        ring.list_poll(index);
        Ok(ring.conn(index))
    }

    /// Fills one ring before the next, as the door does.
    fn ring_for_connect(&self) -> Option<usize> {
        let first = self.rings.iter().position(|ring| ring.slots.free() > 0 && ring.slots.live() > 0);
        first.or_else(|| roomiest(&self.rings))
    }

    /// Ring and slot of a living handle that is not closing.
    fn place(&mut self, conn: Conn) -> Option<(usize, u32)> {
        let slots = self.plan.slots_per_ring;
        let index = conn.index() as u32;
        let (ring, index) = ((index / slots) as usize, index % slots);
        let slot = self.rings.get_mut(ring)?.slots.find(index, conn.generation())?;
        (!slot.is(CLOSING)).then_some((ring, index))
    }
}

impl Drop for Rings {
    /// Cancels everything, closes every socket and only then frees what the kernel pointed to.
    fn drop(&mut self) {
        let mut drained = true;
        for ring in &mut self.rings {
            drained &= ring.drain(&mut self.shared);
        }
        if !drained {
            tracing::error!(
                "the kernel kept operations at shutdown; their memory is leaked rather than freed under it"
            );
            for ring in self.rings.drain(..) {
                std::mem::forget(ring);
            }
            return;
        }
        // SAFETY: `shared` is not touched after this: `drop` runs once and this is its last use.
        unsafe { ManuallyDrop::drop(&mut self.shared) };
    }
}
