//! What the API may look at: the whole store of a router alone, or the parts that one of several routers holds now.
//!
//! Never shows a part that is not held, or whose holding the brokers have not confirmed lately: another router may have
//! changed it. Decides nothing.

use bytes::Bytes;
use uuid::Uuid;
use wire::partition::partition_of;
use wire::time::Wall;

use crate::ledger::{Counters, Gaps, Reconciliation, sequences};
use crate::otp::Otp;
use crate::owner::View;
use crate::owner::view::{InboxError, InboxPage, InboxQuery, LogPage, Timeline};
use crate::owners::partition_of_log;
use crate::store::{Batch, DiskStore, Order, Part, Range, Row, Space, Store, StoreError};
use crate::sync::history::History;
use crate::tenure::{Holds, Standing, Tenure};

/// What was looked for.
#[derive(Debug)]
pub enum Found<T> {
    Here(T),
    Nowhere,
    /// This router does not hold everything.
    Elsewhere,
    /// It may be ours.
    Unproven,
}

/// The whole store of a router alone, or one part of it.
#[derive(Debug, Clone)]
pub enum Place {
    Whole(DiskStore),
    Part(Part<DiskStore>),
}

impl Store for Place {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self {
            Place::Whole(store) => store.get(space, key),
            Place::Part(part) => part.get(space, key),
        }
    }

    fn scan(&self, space: Space, range: &Range, order: Order, limit: usize) -> Result<Vec<Row>, StoreError> {
        match self {
            Place::Whole(store) => store.scan(space, range, order, limit),
            Place::Part(part) => part.scan(space, range, order, limit),
        }
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        match self {
            Place::Whole(store) => store.commit(batch),
            Place::Part(part) => part.commit(batch),
        }
    }

    fn persist(&self) -> Result<(), StoreError> {
        match self {
            Place::Whole(store) => store.persist(),
            Place::Part(part) => part.persist(),
        }
    }
}

/// A code, and what became of its notification.
pub type Newest = (Uuid, Otp, Option<Timeline>);

#[derive(Debug)]
pub struct Views {
    store: DiskStore,
    tenure: Tenure,
    count: u32,
}

impl Views {
    pub fn new(store: DiskStore, tenure: Tenure, count: u32) -> Views {
        Views { store, tenure, count }
    }

    pub fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    pub fn store(&self) -> &DiskStore {
        &self.store
    }

    /// The partition of a user, where there are parts.
    pub fn partition(&self, user: &str) -> Option<u32> {
        (!self.tenure.is_alone()).then(|| partition_of(user, self.count))
    }

    fn whole(&self) -> View<Place> {
        View::new(Place::Whole(self.store.clone()))
    }

    fn part(&self, partition: u32) -> View<Place> {
        View::new(Place::Part(Part::new(self.store.clone(), partition)))
    }

    /// Where everything about a user stands.
    fn of_user(&self, user: &str) -> Found<View<Place>> {
        match self.tenure.of_user(user) {
            Standing::Ours => {
                Found::Here(self.partition(user).map_or_else(|| self.whole(), |of| self.part(of)))
            }
            Standing::Elsewhere => Found::Elsewhere,
            Standing::Unproven => Found::Unproven,
        }
    }

    /// What `read` finds of a user.
    pub fn read_of<T, E>(
        &self,
        user: &str,
        read: impl FnOnce(&View<Place>, &str) -> Result<T, E>,
    ) -> Result<Found<T>, E> {
        let before = self.tenure.held();
        Ok(match self.of_user(user) {
            Found::Here(view) => self.certain(&before, read(&view, user)?),
            Found::Nowhere => Found::Nowhere,
            Found::Elsewhere => Found::Elsewhere,
            Found::Unproven => Found::Unproven,
        })
    }

    /// Everything that can be looked at, and whether that is everything that there is. `None`: nothing is certain now.
    fn held(&self) -> Option<(Vec<View<Place>>, bool)> {
        match self.tenure.held() {
            Holds::Everything => Some((vec![self.whole()], true)),
            Holds::Parts { partitions, is_all } => {
                Some((partitions.into_iter().map(|partition| self.part(partition)).collect(), is_all))
            }
            Holds::Unproven => None,
        }
    }

    /// What was read, if what was held then is held yet, and proven.
    fn certain<T>(&self, before: &Holds, read: T) -> Found<T> {
        if self.tenure.held() == *before { Found::Here(read) } else { Found::Unproven }
    }

    pub fn timeline(&self, id: Uuid) -> Result<Found<Timeline>, StoreError> {
        let before = self.tenure.held();
        let Some((held, is_all)) = self.held() else { return Ok(Found::Unproven) };
        let mut found: Option<Timeline> = None;
        for view in held {
            let Some(part) = view.timeline(id)? else { continue };
            match &mut found {
                Some(whole) => whole.deliveries.extend(part.deliveries),
                None => found = Some(part),
            }
        }
        Ok(match found {
            // Others of its users may be elsewhere.
            Some(part) => {
                let more = part.more || (part.is_list && !is_all);
                self.certain(&before, Timeline { more, ..part })
            }
            None if is_all => Found::Nowhere,
            None => Found::Elsewhere,
        })
    }

    /// A one-use code, and what `read` finds beside it.
    pub fn otp<T>(
        &self,
        id: Uuid,
        read: impl FnOnce(&Otp, &View<Place>) -> Result<T, StoreError>,
    ) -> Result<Found<(Otp, T)>, StoreError> {
        let before = self.tenure.held();
        let Some((held, is_all)) = self.held() else { return Ok(Found::Unproven) };
        for view in held {
            if let Some(otp) = view.otp(id)? {
                let read = read(&otp, &view)?;
                return Ok(self.certain(&before, (otp, read)));
            }
        }
        Ok(if is_all { Found::Nowhere } else { Found::Elsewhere })
    }

    /// The newest codes of what is held, with what became of each. Newest first.
    pub fn newest_otps(&self, limit: usize) -> Result<Found<Vec<Newest>>, StoreError> {
        let Some((held, _)) = self.held() else { return Ok(Found::Unproven) };
        let mut found = Vec::new();
        for view in held {
            for id in view.newest_otps()?.into_iter().take(limit) {
                if let Some(otp) = view.otp(id)? {
                    found.push((id, otp, view.timeline(id)?));
                }
            }
        }
        if !self.tenure.is_alone() {
            // One whose notification has not come yet is newer than all that have.
            let accepted =
                |timeline: &Option<Timeline>| timeline.as_ref().map_or(Wall(i64::MAX), |of| of.accepted_at);
            found.sort_by_key(|(_, _, timeline)| std::cmp::Reverse(accepted(timeline)));
        }
        found.truncate(limit);
        Ok(Found::Here(found))
    }

    pub fn inbox(
        &self,
        user: &str,
        query: &InboxQuery,
        history: History,
    ) -> Result<Found<InboxPage>, InboxError> {
        self.read_of(user, |view, user| view.inbox_with(user, query, history))
    }

    /// The parts that can be looked at; of a router alone `None`.
    pub fn parts(&self) -> Option<Vec<u32>> {
        match self.tenure.held() {
            Holds::Everything => None,
            Holds::Parts { partitions, .. } => Some(partitions),
            Holds::Unproven => Some(Vec::new()),
        }
    }

    /// Of what is held, together.
    pub fn counters(&self) -> Result<Counters, StoreError> {
        let Some(parts) = self.parts() else { return self.whole().counters() };
        let mut sum = Counters::decode(None)?;
        for partition in parts {
            sum.add(&self.part(partition).counters()?);
        }
        Ok(sum)
    }

    pub fn reconcile(&self, now: Wall, journal_lag: u64) -> Result<Reconciliation, StoreError> {
        let Some(parts) = self.parts() else { return self.whole().reconcile(now, journal_lag) };
        let mut gaps = Gaps::default();
        for partition in parts {
            gaps.add(sequences::gaps(self.part(partition).store(), now, journal_lag)?);
        }
        Ok(Reconciliation::new(now, &self.counters()?, journal_lag, gaps))
    }

    pub fn overflow(&self, after: Option<u64>, limit: usize) -> Result<LogPage, StoreError> {
        self.log(after, limit, View::overflow)
    }

    pub fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<LogPage, StoreError> {
        self.log(after, limit, View::dead_letters)
    }

    /// Numbers of a partition lie behind those of all partitions before it.
    fn log(
        &self,
        after: Option<u64>,
        limit: usize,
        read: impl Fn(&View<Place>, Option<u64>, usize) -> Result<LogPage, StoreError>,
    ) -> Result<LogPage, StoreError> {
        let Some(parts) = self.parts() else { return read(&self.whole(), after, limit) };
        let from = after.map_or(0, partition_of_log);
        let mut page = LogPage { items: Vec::new(), next: None };
        for partition in parts.into_iter().filter(|partition| *partition >= from) {
            let after = after.filter(|after| partition_of_log(*after) == partition);
            let more = read(&self.part(partition), after, limit)?;
            page.items.extend(more.items);
            if page.items.len() > limit || more.next.is_some() {
                page.items.truncate(limit);
                page.next = page.items.last().map(|item| item.number);
                break;
            }
        }
        Ok(page)
    }
}
