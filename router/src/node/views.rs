//! What the API may look at: the whole store of a router alone, or the parts that one of several routers holds now.
//!
//! Never shows a part that is not held, or whose holding the brokers have not confirmed lately: another router may have
//! changed it. Decides nothing.

use uuid::Uuid;
use wire::partition::partition_of;
use wire::time::Wall;

use crate::ledger::{Counters, Gaps, Reconciliation, sequences};
use crate::owner::View;
use crate::owner::view::{InboxError, InboxPage, InboxQuery, LogPage, Timeline};
use crate::owners::partition_of_log;
use crate::store::{DiskStore, Part, StoreError};
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

    /// The store of a router alone. What is only built for one asks it, and is refused for several.
    pub fn whole(&self) -> View<DiskStore> {
        View::new(self.store.clone())
    }

    fn part(&self, partition: u32) -> View<Part<DiskStore>> {
        View::new(Part::new(self.store.clone(), partition))
    }

    pub fn timeline(&self, id: Uuid) -> Result<Found<Timeline>, StoreError> {
        let (partitions, is_all) = match self.tenure.held() {
            Holds::Everything => {
                return Ok(self.whole().timeline(id)?.map_or(Found::Nowhere, Found::Here));
            }
            Holds::Unproven => return Ok(Found::Unproven),
            Holds::Parts { partitions, is_all } => (partitions, is_all),
        };
        let mut found: Option<Timeline> = None;
        for partition in partitions {
            let Some(part) = self.part(partition).timeline(id)? else { continue };
            match &mut found {
                Some(whole) => whole.deliveries.extend(part.deliveries),
                None => found = Some(part),
            }
        }
        Ok(match found {
            // Others of its users may be elsewhere.
            Some(part) => Found::Here(Timeline { more: part.more || (part.is_list && !is_all), ..part }),
            None if is_all => Found::Nowhere,
            None => Found::Elsewhere,
        })
    }

    pub fn inbox(
        &self,
        user: &str,
        query: &InboxQuery,
        history: History,
    ) -> Result<Found<InboxPage>, InboxError> {
        if self.tenure.is_alone() {
            return self.whole().inbox_with(user, query, history).map(Found::Here);
        }
        match self.tenure.of_user(user) {
            Standing::Ours => {
                let partition = partition_of(user, self.count);
                self.part(partition).inbox_with(user, query, history).map(Found::Here)
            }
            Standing::Elsewhere => Ok(Found::Elsewhere),
            Standing::Unproven => Ok(Found::Unproven),
        }
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
        self.log(after, limit, View::overflow, View::overflow)
    }

    pub fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<LogPage, StoreError> {
        self.log(after, limit, View::dead_letters, View::dead_letters)
    }

    /// Numbers of a partition lie behind those of all partitions before it.
    fn log(
        &self,
        after: Option<u64>,
        limit: usize,
        whole: impl Fn(&View<DiskStore>, Option<u64>, usize) -> Result<LogPage, StoreError>,
        part: impl Fn(&View<Part<DiskStore>>, Option<u64>, usize) -> Result<LogPage, StoreError>,
    ) -> Result<LogPage, StoreError> {
        let Some(parts) = self.parts() else { return whole(&self.whole(), after, limit) };
        let from = after.map_or(0, partition_of_log);
        let mut page = LogPage { items: Vec::new(), next: None };
        for partition in parts.into_iter().filter(|partition| *partition >= from) {
            let after = after.filter(|after| partition_of_log(*after) == partition);
            let more = part(&self.part(partition), after, limit)?;
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
