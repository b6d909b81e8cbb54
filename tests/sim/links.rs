//! The wires between shards and the router: first in, first out, with delays, stalls and cuts.

use std::collections::BTreeMap;

use router::links::queue::LinkQueue;
use router::owner::LinkId;
use wire::link::Frame;

use crate::events::{Event, Events, MS};

/// One link, from dial to the moment when both ends know that it is gone.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shard: usize,
    /// What the router's porch owes it.
    pub(crate) queue: LinkQueue,
    /// Known to the owner once the shard's hello was read.
    pub(crate) known: Option<LinkId>,
    /// Client messages since credit was last given.
    pub(crate) spent: u32,
    /// Nothing arrives any more.
    pub(crate) is_cut: bool,
    /// Times of the last arrivals: nothing overtakes.
    to_router_us: u64,
    to_shard_us: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) all: BTreeMap<u64, Link>,
    next: u64,
}

impl Links {
    pub(crate) fn dial(&mut self, shard: usize) -> u64 {
        self.next += 1;
        let link = Link {
            shard,
            queue: LinkQueue::default(),
            known: None,
            spent: 0,
            is_cut: false,
            to_router_us: 0,
            to_shard_us: 0,
        };
        self.all.insert(self.next, link);
        self.next
    }

    pub(crate) fn of_shard(&self, shard: usize) -> Option<u64> {
        self.all.iter().find(|(_, link)| link.shard == shard && !link.is_cut).map(|(id, _)| *id)
    }

    pub(crate) fn known_as(&mut self, known: LinkId) -> Option<(u64, &mut Link)> {
        self.all.iter_mut().find(|(_, link)| link.known == Some(known)).map(|(id, link)| (*id, link))
    }

    pub(crate) fn send_to_router(&mut self, id: u64, frame: Frame, events: &mut Events) {
        let Some(link) = self.all.get_mut(&id) else { return };
        let arrives = events.now_us() + events.between(50, 2 * MS);
        link.to_router_us = link.to_router_us.max(arrives);
        events.at(link.to_router_us, Event::ToRouter { link: id, frame });
    }

    pub(crate) fn send_to_shard(&mut self, id: u64, frame: Frame, events: &mut Events) {
        let Some(link) = self.all.get_mut(&id) else { return };
        let arrives = events.now_us() + events.between(50, 2 * MS);
        link.to_shard_us = link.to_shard_us.max(arrives);
        events.at(link.to_shard_us, Event::ToShard { link: id, frame });
    }

    /// Sends what the queue lets go.
    pub(crate) fn flush(&mut self, id: u64, events: &mut Events) {
        while let Some(frame) = self.all.get_mut(&id).and_then(|link| link.queue.pop()) {
            self.send_to_shard(id, frame, events);
        }
    }

    /// Nothing arrives for a while; perhaps for so long that an end gives up.
    pub(crate) fn stall(&mut self, id: u64, for_us: u64, events: &Events) {
        if let Some(link) = self.all.get_mut(&id) {
            let until = events.now_us() + for_us;
            link.to_router_us = link.to_router_us.max(until);
            link.to_shard_us = link.to_shard_us.max(until);
        }
    }

    /// What is on its way is lost; each end hears of it in its own time.
    pub(crate) fn cut(&mut self, id: u64, events: &mut Events) {
        let Some(link) = self.all.get_mut(&id) else { return };
        if std::mem::replace(&mut link.is_cut, true) {
            return;
        }
        events.within(0, 500 * MS, Event::RouterLoses { link: id });
        events.within(0, 500 * MS, Event::ShardLoses { link: id });
    }
}
