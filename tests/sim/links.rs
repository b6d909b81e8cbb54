//! The wires between shards and the router: first in, first out, with delays, stalls, partitions and cuts. Each end of a
//! link that is gone hears of it in its own time, or finds out by the silence.

use std::collections::BTreeMap;

use router::limits::LINK_SILENCE_MAX;
use router::links::queue::LinkQueue;
use router::owner::LinkId;
use wire::link::Frame;

use crate::events::{Event, Events, MS, S};

/// How often the router's porch looks for silence.
const LISTENS_EVERY_US: u64 = S;

/// One link, from dial to the moment when both ends know that it is gone.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) shard: usize,
    /// What the router's porch owes it.
    pub(crate) queue: LinkQueue,
    /// Known to the owner once the shard's hello was read.
    pub(crate) known: Option<LinkId>,
    /// Client messages since credit was last given.
    pub(crate) spent: u32,
    /// Paid frames that the shard said it takes, and those that went out.
    pub(crate) granted: u64,
    paid: u64,
    /// Nothing arrives any more.
    pub(crate) is_cut: bool,
    shard_knows: bool,
    router_knows: bool,
    heard_us: u64,
    /// Times of the last arrivals: nothing overtakes.
    to_router_us: u64,
    to_shard_us: u64,
}

/// Until when nothing passes.
#[derive(Debug, Default, Clone, Copy)]
struct Partition {
    to_router_us: u64,
    to_shard_us: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) all: BTreeMap<u64, Link>,
    partitions: BTreeMap<usize, Partition>,
    next: u64,
    /// 1 in so many frames is late. 0: none.
    pub(crate) late_one_in: u64,
}

impl Links {
    /// A new link, unless the way is shut or the shard believes that it has one.
    pub(crate) fn dial(&mut self, shard: usize, events: &Events) -> bool {
        let partition = self.partitions.get(&shard).copied().unwrap_or_default();
        if partition.to_router_us.max(partition.to_shard_us) > events.now_us() {
            return false;
        }
        self.next += 1;
        self.all.insert(self.next, Link { shard, heard_us: events.now_us(), ..Link::default() });
        true
    }

    /// The link that the shard believes in, whether it stands or not.
    pub(crate) fn believed(&self, shard: usize) -> Option<u64> {
        self.all.iter().find(|(_, link)| link.shard == shard && !link.shard_knows).map(|(id, _)| *id)
    }

    pub(crate) fn of_shard(&self, shard: usize) -> Option<u64> {
        self.all.iter().find(|(_, link)| link.shard == shard && !link.is_cut).map(|(id, _)| *id)
    }

    pub(crate) fn known_as(&mut self, known: LinkId) -> Option<(u64, &mut Link)> {
        self.all.iter_mut().find(|(_, link)| link.known == Some(known)).map(|(id, link)| (*id, link))
    }

    fn wait(&self, events: &mut Events) -> u64 {
        let late = self.late_one_in > 0 && events.one_in(self.late_one_in);
        events.between(50, if late { 400 * MS } else { 2 * MS })
    }

    pub(crate) fn send_to_router(&mut self, id: u64, frame: Frame, events: &mut Events) {
        let arrives = events.now_us() + self.wait(events);
        let Some(link) = self.all.get_mut(&id) else { return };
        let open = self.partitions.get(&link.shard).map_or(0, |partition| partition.to_router_us);
        link.to_router_us = link.to_router_us.max(arrives).max(open);
        events.at(link.to_router_us, Event::ToRouter { link: id, frame });
    }

    pub(crate) fn send_to_shard(&mut self, id: u64, frame: Frame, events: &mut Events) {
        let arrives = events.now_us() + self.wait(events);
        let Some(link) = self.all.get_mut(&id) else { return };
        if frame.is_paid() {
            link.paid += 1;
            if link.paid > link.granted {
                events.broken("I5", format!("{} paid frames on a credit of {}", link.paid, link.granted));
            }
        }
        let open = self.partitions.get(&link.shard).map_or(0, |partition| partition.to_shard_us);
        link.to_shard_us = link.to_shard_us.max(arrives).max(open);
        events.at(link.to_shard_us, Event::ToShard { link: id, frame });
    }

    /// Sends what the queue lets go.
    pub(crate) fn flush(&mut self, id: u64, events: &mut Events) {
        while let Some(frame) = self.all.get_mut(&id).and_then(|link| link.queue.pop()) {
            self.send_to_shard(id, frame, events);
        }
    }

    /// Nothing passes for a while, one way or both; perhaps for so long that an end gives up.
    pub(crate) fn shut(&mut self, shard: usize, for_us: u64, (up, down): (bool, bool), events: &Events) {
        let partition = self.partitions.entry(shard).or_default();
        let until = events.now_us() + for_us;
        if up {
            partition.to_router_us = partition.to_router_us.max(until);
        }
        if down {
            partition.to_shard_us = partition.to_shard_us.max(until);
        }
    }

    /// A middle box forgot it: both ends hear soon, if the way is open.
    pub(crate) fn cut(&mut self, id: u64, events: &mut Events) {
        self.tell_router(id, events);
        self.tell_shard(id, events);
    }

    /// The shard ended it, and knows. The router hears when the way is open.
    pub(crate) fn cut_by_shard(&mut self, id: u64, events: &mut Events) {
        events.within(0, MS, Event::ShardLoses { link: id });
        self.tell_router(id, events);
    }

    /// The router ended it, or is no more.
    pub(crate) fn cut_by_router(&mut self, id: u64, events: &mut Events) {
        events.within(0, MS, Event::RouterLoses { link: id });
        self.tell_shard(id, events);
    }

    /// The gateway's process is no more: nobody is left to be told on its side.
    pub(crate) fn orphan(&mut self, shard: usize, events: &mut Events) {
        let ids: Vec<u64> =
            self.all.iter().filter(|(_, link)| link.shard == shard).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(link) = self.all.get_mut(&id) {
                link.shard_knows = true;
            }
            self.tell_router(id, events);
        }
    }

    fn tell_router(&mut self, id: u64, events: &mut Events) {
        let Some(link) = self.all.get_mut(&id) else { return };
        link.is_cut = true;
        let open = self.partitions.get(&link.shard).map_or(0, |partition| partition.to_router_us);
        let at = (events.now_us() + events.between(0, 500 * MS)).max(open);
        events.at(at, Event::RouterLoses { link: id });
    }

    fn tell_shard(&mut self, id: u64, events: &mut Events) {
        let Some(link) = self.all.get_mut(&id) else { return };
        link.is_cut = true;
        let open = self.partitions.get(&link.shard).map_or(0, |partition| partition.to_shard_us);
        let at = (events.now_us() + events.between(0, 500 * MS)).max(open);
        events.at(at, Event::ShardLoses { link: id });
    }

    /// The shard hears that it is gone: which shard, if it did not know.
    pub(crate) fn shard_loses(&mut self, id: u64) -> Option<usize> {
        let link = self.all.get_mut(&id).filter(|link| !link.shard_knows)?;
        link.shard_knows = true;
        let shard = link.shard;
        self.forget(id);
        Some(shard)
    }

    /// The router hears that it is gone: under which name the owner knew it, if it did.
    pub(crate) fn router_loses(&mut self, id: u64) -> Option<LinkId> {
        let link = self.all.get_mut(&id)?;
        link.router_knows = true;
        let known = link.known.take();
        self.forget(id);
        known
    }

    fn forget(&mut self, id: u64) {
        if self.all.get(&id).is_some_and(|link| link.shard_knows && link.router_knows) {
            self.all.remove(&id);
        }
    }

    pub(crate) fn heard(&mut self, id: u64, events: &mut Events) {
        if let Some(link) = self.all.get_mut(&id) {
            link.heard_us = events.now_us();
        }
    }

    /// Looks whether the link was silent for too long, and looks again later.
    pub(crate) fn listen(&mut self, id: u64, events: &mut Events) {
        let Some(link) = self.all.get(&id).filter(|link| !link.router_knows) else { return };
        if events.now_us() - link.heard_us >= LINK_SILENCE_MAX.as_micros() as u64 {
            self.cut_by_router(id, events);
        } else {
            events.within(LISTENS_EVERY_US, LISTENS_EVERY_US, Event::RouterListens { link: id });
        }
    }
}
