//! Telling a router who is here: all users and topics of the partitions it owns, in bounded pieces.
//!
//! Walks the registry's tables in turns while connections come and go. Whoever comes is announced at once, so
//! only those who leave matter: before a name is withdrawn, what was gathered of its partition goes out
//! ([`Snapshot::flush_partition`]), so that no older snapshot frame follows a withdrawal. Called by `links`.

use std::collections::BTreeMap;

use wire::limits::SNAPSHOT_USERS_MAX;
use wire::link::Frame;

use crate::limits::SNAPSHOT_USERS_PER_TURN;
use crate::shard::registry::Registry;

#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// By partition: what this link was told, or is being told.
    partitions: Vec<Told>,
    /// Names gathered for frames that are not full yet.
    gathered: BTreeMap<u32, Gathered>,
    next_user: usize,
    next_topic: usize,
    is_under_way: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    NotOwned,
    UnderWay,
    Done,
}

#[derive(Debug, Default)]
struct Gathered {
    users: Vec<String>,
    topics: Vec<String>,
}

impl Snapshot {
    /// The router owns these now. Those it was not told about yet are told; the walk starts over for them.
    pub(super) fn ask_for(&mut self, count: u32, owned: impl Iterator<Item = u32>) {
        let mut wanted = vec![Told::NotOwned; count as usize];
        for partition in owned {
            let known = self.partitions.get(partition as usize).copied();
            wanted[partition as usize] = match known {
                Some(Told::Done) if self.partitions.len() == count as usize => Told::Done,
                _ => Told::UnderWay,
            };
        }
        self.partitions = wanted;
        self.gathered.clear();
        self.next_user = 0;
        self.next_topic = 0;
        self.is_under_way = self.partitions.contains(&Told::UnderWay);
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// What was gathered of a partition and not sent yet.
    pub(super) fn flush_partition(&mut self, partition: u32) -> Option<Frame> {
        let Gathered { users, topics } = self.gathered.remove(&partition)?;
        Some(Frame::Snapshot { partition, users, topics })
    }

    /// Walks on by a bounded number of names. True: there is more.
    pub(super) fn step(
        &mut self,
        registry: &Registry,
        partition_of: impl Fn(&str) -> Option<u32>,
        frames: &mut Vec<Frame>,
    ) -> bool {
        if !self.is_under_way {
            return false;
        }
        for _ in 0..SNAPSHOT_USERS_PER_TURN {
            if let Some(place) = registry.user_at(self.next_user) {
                self.next_user += 1;
                let Some((_, name)) = place else { continue };
                self.gather(partition_of(name), name, |gathered| &mut gathered.users, frames);
            } else if let Some(place) = registry.topic_at(self.next_topic) {
                self.next_topic += 1;
                let Some(name) = place else { continue };
                self.gather(partition_of(name), name, |gathered| &mut gathered.topics, frames);
            } else {
                self.finish(frames);
                return false;
            }
        }
        true
    }

    fn gather(
        &mut self,
        partition: Option<u32>,
        name: &str,
        list: fn(&mut Gathered) -> &mut Vec<String>,
        frames: &mut Vec<Frame>,
    ) {
        let Some(partition) = partition else { return };
        if self.partitions.get(partition as usize) != Some(&Told::UnderWay) {
            return;
        }
        let gathered = self.gathered.entry(partition).or_default();
        list(gathered).push(name.to_owned());
        if gathered.users.len() + gathered.topics.len() >= SNAPSHOT_USERS_MAX {
            frames.extend(self.flush_partition(partition));
        }
    }

    fn finish(&mut self, frames: &mut Vec<Frame>) {
        self.is_under_way = false;
        for partition in 0..self.partitions.len() {
            if self.partitions[partition] == Told::UnderWay {
                self.partitions[partition] = Told::Done;
                let partition = partition as u32;
                frames.extend(self.flush_partition(partition));
                frames.push(Frame::SnapshotEnd { partition });
            }
        }
    }
}
