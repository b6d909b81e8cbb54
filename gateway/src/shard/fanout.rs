//! One notification to many sockets.
//!
//! A delivery to a user goes to that user's few sockets at once. A broadcast sweeps its room in turns of a
//! bounded number of sockets, rooms taking turns, so that a large room delays nobody else; shorter ones while
//! single users are sent something. All that arrived
//! for a room before a sweep starts goes with it, so under load each socket is visited once for many
//! messages, and drained in one send. A message is encoded once, whoever gets it. Never blocks, never drops
//! silently: the router is told what became of each. Called by `shard`.

use std::collections::{HashMap, VecDeque};
use std::mem;

use uuid::Uuid;
use wire::link::DeliveryResult;
use wire::time::Mono;

use crate::limits::{
    FANOUT_HEEDS_OTHERS, FANOUT_JOBS_MAX, FANOUT_PLACES_PER_TURN, FANOUT_SOCKETS_BESIDE_OTHERS,
    FANOUT_SOCKETS_PER_TURN, FRAMES_PER_SEND_MAX,
};
use crate::shard::Now;
use crate::shard::connection::Key;
use crate::shard::links::RouterIndex;
use crate::shard::registry::{Registry, TopicId, UserId};
use crate::shard::sockets::{Encoded, Offered, Sockets};

/// Who a broadcast is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Room {
    Everyone,
    Topic(TopicId),
}

/// Whom to tell what became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) router: RouterIndex,
    pub(super) tag: u64,
    pub(super) id: Uuid,
}

/// What happened to one message over all its sockets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    queued: u32,
    dropped: u32,
}

impl Tally {
    fn count(&mut self, offered: Offered) {
        match offered {
            Offered::Queued => self.queued += 1,
            Offered::Dropped => self.dropped += 1,
            Offered::NotOpen => {}
        }
    }

    /// The result where `had` sockets had it before.
    pub(super) fn result_beside(self, had: usize) -> DeliveryResult {
        match self {
            Tally { queued: 0, .. } if had > 0 => DeliveryResult::Sent { sockets: had as u32 },
            tally => tally.result(),
        }
    }

    pub(super) fn result(self) -> DeliveryResult {
        match self {
            Tally { queued: 0, dropped: 0 } => DeliveryResult::None,
            Tally { queued: 0, .. } => DeliveryResult::Slow,
            Tally { queued, .. } => DeliveryResult::Sent { sockets: queued },
        }
    }
}

/// Sends to each of a user's sockets, but for those that are excepted.
pub(super) fn to_user(
    sockets: &mut Sockets,
    registry: &Registry,
    user: UserId,
    except: &[Key],
    message: &mut Encoded,
    now: Now,
) -> Tally {
    let mut tally = Tally::default();
    for index in registry.connections(user) {
        let is_excepted = except.iter().any(|key| key.index() == index && sockets.slab.get(*key).is_some());
        if !is_excepted {
            tally.count(sockets.offer(index, message, 1, now));
        }
    }
    tally
}

#[derive(Debug)]
struct Broadcast {
    message: Encoded,
    receipt: Option<Receipt>,
    tally: Tally,
    arrived: Mono,
}

#[derive(Debug, Default)]
struct Sweep {
    under_way: Vec<Broadcast>,
    /// The next place of the room to visit.
    place: usize,
    sharers: usize,
    waiting: VecDeque<Broadcast>,
}

/// A broadcast that is done: what to tell the router, and when it had arrived.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) receipt: Option<Receipt>,
    pub(super) result: DeliveryResult,
    pub(super) arrived: Mono,
}

/// The broadcasts under way in a shard.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    sweeps: HashMap<Room, Sweep, ahash::RandomState>,
    /// Rooms with a sweep, in the order of their turns.
    turns: VecDeque<Room>,
    jobs: usize,
    /// Until then sweeps take short turns: somebody else is being served, too.
    heeds_others_until: Mono,
}

/// Too many broadcasts are under way. Routers' credit makes this a router's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyBroadcasts;

impl Fanout {
    pub(super) fn new(seed: u64) -> Fanout {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(31), 0x726f_6f6d);
        Fanout {
            sweeps: HashMap::with_hasher(hasher),
            turns: VecDeque::new(),
            jobs: 0,
            heeds_others_until: Mono::ZERO,
        }
    }

    pub(super) fn start(
        &mut self,
        room: Room,
        message: Encoded,
        receipt: Option<Receipt>,
        now: Mono,
    ) -> Result<(), TooManyBroadcasts> {
        if self.jobs == FANOUT_JOBS_MAX {
            return Err(TooManyBroadcasts);
        }
        self.jobs += 1;
        let sweep = self.sweeps.entry(room).or_default();
        if sweep.under_way.is_empty() && sweep.waiting.is_empty() {
            self.turns.push_back(room);
        }
        sweep.waiting.push_back(Broadcast { message, receipt, tally: Tally::default(), arrived: now });
        Ok(())
    }

    /// A single user was sent something.
    pub(super) fn heed_others(&mut self, now: Mono) {
        self.heeds_others_until = now + FANOUT_HEEDS_OTHERS;
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Rooms take their turns, each at most once, while the turn's budget of sockets lasts. Broadcasts that
    /// are done go to `finished`.
    pub(super) fn step(
        &mut self,
        sockets: &mut Sockets,
        registry: &Registry,
        now: Now,
        finished: &mut Vec<Finished>,
    ) {
        let heeds_others = now.mono < self.heeds_others_until;
        let sockets_max = if heeds_others { FANOUT_SOCKETS_BESIDE_OTHERS } else { FANOUT_SOCKETS_PER_TURN };
        let mut budget = Budget { sockets: sockets_max, places: FANOUT_PLACES_PER_TURN };
        for _ in 0..self.turns.len() {
            if budget.is_spent() {
                return;
            }
            let Some(room) = self.turns.pop_front() else { return };
            let Some(sweep) = self.sweeps.get_mut(&room) else { continue };
            if sweep.under_way.is_empty() {
                sweep.begin(room, sockets, registry);
            }
            let is_done = match room {
                Room::Everyone => sweep.visit_everyone(sockets, &mut budget, now),
                Room::Topic(topic) => sweep.visit_topic(topic, sockets, registry, &mut budget, now),
            };
            if is_done {
                self.jobs -= sweep.under_way.len();
                finished.extend(sweep.under_way.drain(..).map(Broadcast::finish));
            }
            if is_done && sweep.waiting.is_empty() {
                self.sweeps.remove(&room);
            } else {
                self.turns.push_back(room);
            }
        }
    }
}

/// What is left of one turn.
struct Budget {
    sockets: usize,
    places: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.sockets == 0 || self.places == 0
    }
}

impl Broadcast {
    fn finish(self) -> Finished {
        Finished { receipt: self.receipt, result: self.tally.result(), arrived: self.arrived }
    }
}

impl Sweep {
    /// Takes what waits, as much as one send may carry to each socket.
    fn begin(&mut self, room: Room, sockets: &Sockets, registry: &Registry) {
        let batch = self.waiting.len().min(FRAMES_PER_SEND_MAX);
        self.under_way.extend(self.waiting.drain(..batch));
        self.place = 0;
        self.sharers = match room {
            Room::Everyone => sockets.slab.live(),
            Room::Topic(topic) => registry.topic_size(topic),
        };
    }

    /// True: everyone was visited.
    fn visit_everyone(&mut self, sockets: &mut Sockets, budget: &mut Budget, now: Now) -> bool {
        while !budget.is_spent() {
            if self.place >= sockets.slab.end() as usize {
                return true;
            }
            self.visit(sockets, self.place as u32, budget, now);
            self.place += 1;
            budget.places -= 1;
        }
        false
    }

    /// True: every member was visited.
    fn visit_topic(
        &mut self,
        topic: TopicId,
        sockets: &mut Sockets,
        registry: &Registry,
        budget: &mut Budget,
        now: Now,
    ) -> bool {
        while !budget.is_spent() {
            let Some(member) = registry.member_at(topic, self.place) else { return true };
            for index in member.into_iter().flat_map(|user| registry.connections(user)) {
                self.visit(sockets, index, budget, now);
            }
            self.place += 1;
            budget.places -= 1;
        }
        false
    }

    fn visit(&mut self, sockets: &mut Sockets, index: u32, budget: &mut Budget, now: Now) {
        for broadcast in &mut self.under_way {
            let offered = sockets.offer(index, &mut broadcast.message, self.sharers, now);
            if offered == Offered::NotOpen {
                return;
            }
            broadcast.tally.count(offered);
        }
        budget.sockets = budget.sockets.saturating_sub(1);
    }
}

const _: () = assert!(mem::size_of::<Room>() <= 12);
