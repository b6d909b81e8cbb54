//! What was sent to a link and not answered yet, and since when a shard may lack something.
//!
//! A delivery frame carries a tag; its `Result` brings the tag back. When a link goes down, everything from the oldest
//! unanswered frame on may not have arrived: once the shard is back, whoever has something newer is told to sync.

use std::collections::{BTreeMap, HashMap, VecDeque};

use wire::time::Wall;

use crate::presence::LinkId;

/// Unanswered frames that are remembered for one link.
const FLIGHTS_MAX: usize = 65_536;
/// Shards that are down and remembered.
const DOWN_MAX: usize = 1_024;

/// A frame that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// The ledger row it belongs to.
    pub key: Vec<u8>,
    pub created_at: Wall,
    /// When the notification was.
    pub accepted_at: Wall,
}

#[derive(Debug)]
struct Line {
    shard: (String, u16),
    flights: BTreeMap<u64, Flight>,
    /// The oldest stamp of what is no longer remembered.
    forgotten: Option<Wall>,
    /// The shard may lack what is newer.
    gap_since: Option<Wall>,
    /// The whole shard was told.
    told: bool,
}

#[derive(Debug)]
pub struct Flights {
    next_tag: u64,
    lines: HashMap<LinkId, Line>,
    down: VecDeque<((String, u16), Wall)>,
    /// For shards that were not seen since the start.
    before_start: Option<Wall>,
}

impl Flights {
    /// Tags begin at a number drawn from `seed`, so that none of an earlier run is taken for one of this run.
    /// `before_start`: what is newer may not have arrived anywhere.
    pub fn new(seed: u64, before_start: Option<Wall>) -> Flights {
        Flights { next_tag: seed >> 1, lines: HashMap::new(), down: VecDeque::new(), before_start }
    }

    pub fn link_up(&mut self, link: LinkId, node: &str, shard: u16) {
        let shard = (node.to_owned(), shard);
        let known = self.down.iter().position(|(name, _)| *name == shard).and_then(|i| self.down.remove(i));
        let gap_since = known.map_or(self.before_start, |(_, since)| Some(since));
        let line = Line { shard, flights: BTreeMap::new(), forgotten: None, gap_since, told: false };
        self.lines.insert(link, line);
    }

    /// `last`: the newest stamp there is; what is answered was not newer.
    pub fn link_down(&mut self, link: LinkId, last: Wall) {
        let Some(line) = self.lines.remove(&link) else { return };
        let oldest = line.flights.values().map(|flight| flight.created_at).chain(line.forgotten).min();
        let lacking = oldest.map_or(last, |at| Wall(at.0.saturating_sub(1)));
        // A link that was lost before the earlier gap was told keeps that gap.
        let since = line.gap_since.filter(|_| !line.told).map_or(lacking, |earlier| lacking.min(earlier));
        self.down.push_back((line.shard, since));
        if self.down.len() > DOWN_MAX
            && let Some((_, since)) = self.down.pop_front()
        {
            self.before_start = Some(self.before_start.map_or(since, |at| at.min(since)));
        }
    }

    pub fn launch(&mut self, link: LinkId, key: &[u8], created_at: Wall, accepted_at: Wall) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        if let Some(line) = self.lines.get_mut(&link) {
            line.flights.insert(tag, Flight { key: key.to_vec(), created_at, accepted_at });
            if line.flights.len() > FLIGHTS_MAX
                && let Some((_, oldest)) = line.flights.pop_first()
            {
                line.forgotten.get_or_insert(oldest.created_at);
            }
        }
        tag
    }

    pub fn peek(&self, link: LinkId, tag: u64) -> Option<&Flight> {
        self.lines.get(&link)?.flights.get(&tag)
    }

    /// It was answered.
    pub fn land(&mut self, link: LinkId, tag: u64) -> Option<Flight> {
        self.lines.get_mut(&link)?.flights.remove(&tag)
    }

    /// What is newer the shard may lack.
    pub fn gap_since(&self, link: LinkId) -> Option<Wall> {
        self.lines.get(&link)?.gap_since
    }

    /// Asked before the whole shard is told of the gap; true once.
    pub fn tell_shard(&mut self, link: LinkId) -> bool {
        self.lines.get_mut(&link).is_some_and(|line| !std::mem::replace(&mut line.told, true))
    }

    /// The shard's snapshots have ended: whoever lacks something was told.
    pub fn gap_told(&mut self, link: LinkId) {
        if let Some(line) = self.lines.get_mut(&link) {
            line.gap_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    #[test]
    fn a_lost_link_lacks_everything_from_the_oldest_unanswered_frame() {
        let mut flights = Flights::new(9, None);
        flights.link_up(LINK, "n", 0);
        assert_eq!(flights.gap_since(LINK), None);
        let tags: Vec<u64> = (10..13).map(|at| flights.launch(LINK, b"k", Wall(at), Wall(0))).collect();
        assert_eq!(flights.land(LINK, tags[0]).map(|flight| flight.created_at), Some(Wall(10)));
        assert_eq!(flights.land(LINK, tags[0]), None, "an answer counts once");
        flights.link_down(LINK, Wall(12));
        flights.link_up(LinkId(2), "n", 0);
        assert_eq!(flights.gap_since(LinkId(2)), Some(Wall(10)));
        flights.link_up(LinkId(3), "n", 1);
        assert_eq!(flights.gap_since(LinkId(3)), None, "another shard");
    }

    #[test]
    fn with_everything_answered_only_what_comes_later_is_lacking() {
        let mut flights = Flights::new(9, Some(Wall(3)));
        flights.link_up(LINK, "n", 0);
        assert_eq!(flights.gap_since(LINK), Some(Wall(3)), "nobody knows what the run before sent");
        flights.gap_told(LINK);
        flights.link_down(LINK, Wall(20));
        flights.link_up(LINK, "n", 0);
        assert_eq!(flights.gap_since(LINK), Some(Wall(20)));
        flights.link_down(LINK, Wall(30));
        flights.link_up(LINK, "n", 0);
        assert_eq!(flights.gap_since(LINK), Some(Wall(20)), "it was never told");
        assert!(flights.tell_shard(LINK) && !flights.tell_shard(LINK));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut flights = Flights::new(9, None);
        flights.link_up(LINK, "n", 0);
        for at in 0..=FLIGHTS_MAX as i64 + 5 {
            flights.launch(LINK, b"k", Wall(at), Wall(0));
        }
        assert_eq!(flights.lines[&LINK].flights.len(), FLIGHTS_MAX);
        flights.link_down(LINK, Wall(0));
        flights.link_up(LINK, "n", 0);
        assert_eq!(flights.gap_since(LINK), Some(Wall(-1)));
    }
}
