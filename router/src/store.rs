//! The store's seam: an ordered key-value store with named spaces and atomic batches.
//!
//! Owns the trait, its errors and what a batch is. The journal is the truth: a batch is atomic with what it says of
//! the journal, so a power cut only makes records come again. Never decides anything.
//! Written by the `owner` (one batch a turn) and by `ingest` (idempotency rows); read by both and by the `View`.
//! At scale the spaces move to Cassandra (`Inbox`, `Marks`, `Notifications`, `Ledger` as projections) and Kafka (`Ledger`).

use std::ops::Bound;
use std::path::PathBuf;

use bytes::Bytes;

pub mod codec;
pub mod disk;
pub mod keys;
pub mod memory;
pub mod part;
pub mod turn;

pub use disk::DiskStore;
pub use memory::MemoryStore;
pub use part::Part;

/// The version of all that is kept. A store of another version is not opened.
pub const FORMAT_VERSION: u8 = 1;

/// Rows that one scan may ask for.
pub const SCAN_ROWS_MAX: usize = 4_096;

/// A named part of the store, ordered by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Format version, counters, stamps, the number of the boot.
    Meta,
    /// By notification: what was asked for.
    Notifications,
    /// By notification and recipient: states and timelines.
    Ledger,
    /// By recipient, newest first: what clients are shown.
    Inbox,
    /// By user and notification: acknowledged, read.
    Marks,
    /// By recipient: the last stamp, unread, the push window.
    Recipients,
    /// By recipient and collapse key: the one that stands.
    Collapse,
    /// By user: topics.
    Subscriptions,
    /// By time: what has to be done then.
    Due,
    /// Provider calls that are out.
    Calls,
    /// What a limit held back, by number.
    Overflow,
    /// What could not be delivered or understood, by number.
    DeadLetters,
    /// By producer boot and partition: which sequence numbers came.
    Sequences,
    /// By hash: one-use tickets.
    Tickets,
    /// By notification: taken back before the owner had seen it.
    Cancellations,
    /// By service and key; `ingest`'s.
    Idempotency,
    /// What the outbox providers hold; `provider::outbox`'s.
    Outbox,
    /// What is kept under a name of its own: the epoch of the last start.
    Documents,
    /// By time: notifications that retention has yet to look at.
    Ages,
    /// By hash: people who were erased, and until when nothing of before may come back.
    Erased,
    /// By notification: what the disk took while Kafka did not, until the ledger knows it; `outage`'s.
    Buffered,
    /// By number: names of rows that are not in Cassandra yet; `projection`'s.
    Projected,
    /// By user and kind: contacts, preferences.
    People,
    /// By notification, recipient and channel: which addresses are done with, while others are still tried.
    Letters,
    /// By notification: one-use codes, sealed.
    Otp,
    /// By channel and a hash of the address: where nothing is sent any more.
    Suppressions,
    /// By service and number: final outcomes that it was not told yet.
    Outcomes,
    /// By user, channel and notification: what waits to go out together; and by call: what went so.
    Digests,
}

impl Space {
    pub const ALL: [Space; 28] = [
        Space::Meta,
        Space::Notifications,
        Space::Ledger,
        Space::Inbox,
        Space::Marks,
        Space::Recipients,
        Space::Collapse,
        Space::Subscriptions,
        Space::Due,
        Space::Calls,
        Space::Overflow,
        Space::DeadLetters,
        Space::Sequences,
        Space::Tickets,
        Space::Cancellations,
        Space::Idempotency,
        Space::Outbox,
        Space::Documents,
        Space::Ages,
        Space::Erased,
        Space::Buffered,
        Space::Projected,
        Space::People,
        Space::Letters,
        Space::Otp,
        Space::Suppressions,
        Space::Outcomes,
        Space::Digests,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Space::Meta => "meta",
            Space::Notifications => "notifications",
            Space::Ledger => "ledger",
            Space::Inbox => "inbox",
            Space::Marks => "marks",
            Space::Recipients => "recipients",
            Space::Collapse => "collapse",
            Space::Subscriptions => "subscriptions",
            Space::Due => "due",
            Space::Calls => "calls",
            Space::Overflow => "overflow",
            Space::DeadLetters => "dead_letters",
            Space::Sequences => "sequences",
            Space::Tickets => "tickets",
            Space::Cancellations => "cancellations",
            Space::Idempotency => "idempotency",
            Space::Outbox => "outbox",
            Space::Documents => "documents",
            Space::Ages => "ages",
            Space::Erased => "erased",
            Space::Buffered => "buffered",
            Space::Projected => "projected",
            Space::People => "people",
            Space::Letters => "letters",
            Space::Otp => "otp",
            Space::Suppressions => "suppressions",
            Space::Outcomes => "outcomes",
            Space::Digests => "digests",
        }
    }
}

/// Why the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store's folder {} is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    #[error("the store has format {found}, this build reads {wanted}")]
    Format { found: String, wanted: u8 },
    /// For now, or until the process starts again.
    #[error("the store cannot be used: {0}")]
    Io(String),
    /// One row cannot be understood. All others can.
    #[error("a row of {} cannot be understood: {what}", space.name())]
    Damaged { space: Space, what: String },
}

/// A part of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub from: Bound<Vec<u8>>,
    pub to: Bound<Vec<u8>>,
}

impl Range {
    pub fn all() -> Range {
        Range { from: Bound::Unbounded, to: Bound::Unbounded }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Range {
        Range { from: Bound::Included(prefix.to_vec()), to: end_of(prefix) }
    }

    /// The keys of this range behind `key`.
    pub fn after(mut self, key: &[u8]) -> Range {
        self.from = Bound::Excluded(key.to_vec());
        self
    }

    /// The keys of this range from `key` on.
    pub fn starting(mut self, key: &[u8]) -> Range {
        self.from = Bound::Included(key.to_vec());
        self
    }

    /// The keys of this range before `key`.
    pub fn before(mut self, key: &[u8]) -> Range {
        self.to = Bound::Excluded(key.to_vec());
        self
    }

    /// Whether no key can be in it. Ordered maps refuse to be asked for such ranges.
    pub fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
        }
    }
}

/// The first key behind all that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// In which order a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Forward,
    Reverse,
}

/// A key and its value.
pub type Row = (Vec<u8>, Bytes);

/// Writes that happen together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// `None` deletes. A key stands in it once: the last word counts.
    pub writes: Vec<(Space, Vec<u8>, Option<Bytes>)>,
}

impl Batch {
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) {
        self.writes.push((space, key.into(), Some(value.into())));
    }

    pub fn delete(&mut self, space: Space, key: impl Into<Vec<u8>>) {
        self.writes.push((space, key.into(), None));
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// An ordered key-value store. A clone is another handle to the same store.
pub trait Store: Clone + Send + Sync + 'static {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// At most `limit` rows of `range`, in `order`.
    fn scan(&self, space: Space, range: &Range, order: Order, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// All of it or nothing. Survives the end of the process, but a power cut only after [`Store::persist`].
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// What was committed is on the disk.
    fn persist(&self) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(end_of(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(end_of(&[1, 255]), Bound::Excluded(vec![2]));
        assert_eq!(end_of(&[255, 255]), Bound::Unbounded);
    }

    #[test]
    fn spaces_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = Space::ALL.iter().map(|space| space.name()).collect();
        assert_eq!(names.len(), Space::ALL.len());
        for (i, space) in Space::ALL.iter().enumerate() {
            assert_eq!(*space as usize, i);
        }
    }
}
