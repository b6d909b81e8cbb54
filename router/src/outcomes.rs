//! What became of deliveries, for whoever wants to be told: one row for each final outcome and hearer, written by the commit that
//! makes it so.
//!
//! Pure. Owns the rows, their order and their bound. A commit that is lost with the power is made again from the journal, and its rows
//! with it; a row goes when its receiver took it. So each outcome is told at least once, in the order of the ledger. Never holds a
//! text, an address or what a provider said but its code. Written by `owner` (`desk`), read and struck out by [`post`].

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::time::Wall;

use crate::classify::Recipient;
use crate::ledger::{Delivery, LedgerRow, State};
use crate::limits::OUTCOMES_WAITING_MAX;
use crate::record::Channel;
use crate::store::codec::{Decoder, Encoder};
use crate::store::turn::Turn;
use crate::store::{Batch, Order, Range, Row, Space, Store, StoreError, keys};

mod pace;
pub mod post;

const VERSION: u8 = 1;
/// The first byte of a key. Persistent.
const WAITING: u8 = b'w';
const DROPPED: u8 = b'd';
/// The topic's second byte; services' is a user's.
const TOPIC: u8 = b'k';
/// Stands for a person who was erased.
const ERASED: &str = "erased";

/// Whom outcomes are told to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hearer {
    /// A service's webhook: what became of its own notifications.
    Service(String),
    /// The topic of outcomes: what became of all.
    Topic,
}

impl Hearer {
    fn key(&self) -> Vec<u8> {
        match self {
            Hearer::Service(service) => keys::user(service),
            Hearer::Topic => vec![TOPIC],
        }
    }

    fn hears_of(&self, service: &str) -> bool {
        match self {
            Hearer::Service(own) => own == service,
            Hearer::Topic => true,
        }
    }

    /// How it is told.
    pub fn by(&self) -> &'static str {
        match self {
            Hearer::Service(_) => "webhook",
            Hearer::Topic => "kafka",
        }
    }

    /// The service whose it is; of the topic, none.
    pub fn service(&self) -> &str {
        match self {
            Hearer::Service(service) => service,
            Hearer::Topic => "",
        }
    }
}

/// For people.
impl std::fmt::Display for Hearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hearer::Service(service) => write!(f, "the webhook of {service}"),
            Hearer::Topic => f.write_str("the topic of outcomes"),
        }
    }
}

/// One final outcome, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub id: Uuid,
    pub service: String,
    /// `user:…`, `topic:…`, `all`, `erased`.
    pub recipient: String,
    pub channel: Channel,
    /// `delivered`, `handed_over`, `fell_back`, `expired`, `dropped`, `dead_lettered`, `unknown`.
    pub outcome: String,
    pub reason: Option<String>,
    pub attempts: u32,
    pub accepted_at: Wall,
    /// Of a person who was erased: when it was written, on the owner's steady clock.
    pub ended_at: Wall,
}

/// What a notification's outcome needs beside its row.
#[derive(Debug, Clone)]
pub struct Asked {
    pub service: String,
    pub accepted_at: Wall,
}

/// Who wants to be told, and how far each one's numbers go.
#[derive(Debug, Clone, Default)]
pub struct Log {
    by_hearer: BTreeMap<Hearer, Numbers>,
}

/// The log behind a turn, and how many of the turn's outcomes found no room.
pub type Staged = (Log, BTreeMap<Hearer, u64>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    /// Nothing waits before.
    first: u64,
    next: u64,
}

fn prefix(kind: u8, hearer: &Hearer) -> Vec<u8> {
    [&[kind], hearer.key().as_slice()].concat()
}

fn waiting(hearer: &Hearer, number: u64) -> Vec<u8> {
    [prefix(WAITING, hearer).as_slice(), &number.to_be_bytes()].concat()
}

/// The number at the end of a key.
fn number(key: &[u8]) -> Result<u64, StoreError> {
    let damaged =
        || StoreError::Damaged { space: Space::Outcomes, what: "a key of another layout".to_owned() };
    key.split_last_chunk::<8>().map(|(_, number)| u64::from_be_bytes(*number)).ok_or_else(damaged)
}

impl Log {
    /// `hearers`: who wants to be told. Nobody: nothing is ever written.
    pub fn open<S: Store>(store: &S, hearers: &[Hearer]) -> Result<Log, StoreError> {
        let mut by_hearer = BTreeMap::new();
        for hearer in hearers {
            let end = |order| store.scan(Space::Outcomes, &Range::prefix(&prefix(WAITING, hearer)), order, 1);
            let number_of = |rows: Vec<Row>| rows.first().map(|(key, _)| number(key)).transpose();
            let last = number_of(end(Order::Reverse)?)?;
            let first = number_of(end(Order::Forward)?)?.unwrap_or(1);
            by_hearer.insert(hearer.clone(), Numbers { first, next: last.map_or(1, |last| last + 1) });
        }
        Ok(Log { by_hearer })
    }

    pub fn is_wanted(&self) -> bool {
        !self.by_hearer.is_empty()
    }

    /// Where a log is full, some may have been taken since it was last looked.
    fn look<S: Store>(&mut self, store: &S) -> Result<(), StoreError> {
        for (hearer, numbers) in self.by_hearer.iter_mut().filter(|(_, numbers)| !numbers.have_room()) {
            let range = Range::prefix(&prefix(WAITING, hearer)).starting(&waiting(hearer, numbers.first));
            let oldest = store.scan(Space::Outcomes, &range, Order::Forward, 1)?;
            numbers.first = oldest.first().map(|(key, _)| number(key)).transpose()?.unwrap_or(numbers.next);
        }
        Ok(())
    }

    /// Writes what the staged rows of the ledger bring to an end. `asked`: what is known of a notification.
    ///
    /// The log that counts once the turn is committed, and how many found no room; a commit that fails is staged anew from the log
    /// before.
    pub fn stage<S: Store>(
        &self,
        turn: &mut Turn<S>,
        now: Wall,
        asked: impl Fn(&Turn<S>, Uuid) -> Result<Option<Asked>, StoreError>,
    ) -> Result<Staged, StoreError> {
        let mut log = self.clone();
        let mut dropped = BTreeMap::new();
        forget_staged(turn)?;
        let ended = ended(turn, now, asked)?;
        if !ended.is_empty() {
            log.look(turn.store())?;
        }
        for outcome in ended {
            let hearers = log.by_hearer.iter_mut().filter(|(hearer, _)| hearer.hears_of(&outcome.service));
            for (hearer, numbers) in hearers {
                if numbers.have_room() {
                    let row = Encoder::new(VERSION).json(&outcome).finish();
                    turn.put(Space::Outcomes, waiting(hearer, numbers.next), row);
                    numbers.next += 1;
                } else {
                    *dropped.entry(hearer.clone()).or_insert(0) += 1;
                }
            }
        }
        for (hearer, more) in &dropped {
            let sum = lost(turn.store(), hearer).unwrap_or(0) + more;
            turn.put(Space::Outcomes, prefix(DROPPED, hearer), Encoder::new(VERSION).u64(sum).finish());
        }
        Ok((log, dropped))
    }
}

impl Numbers {
    fn have_room(self) -> bool {
        self.next - self.first < OUTCOMES_WAITING_MAX
    }
}

/// What a commit that failed had staged: it is staged anew, with what came since. What an erasure wrote in place of a row stays.
fn forget_staged<S: Store>(turn: &mut Turn<S>) -> Result<(), StoreError> {
    let puts = turn.changed(Space::Outcomes).filter(|(_, deletes)| !deletes);
    let keys: Vec<Vec<u8>> = puts.map(|(key, _)| key.to_vec()).collect();
    for key in keys {
        match turn.store().get(Space::Outcomes, &key)? {
            None => turn.delete(Space::Outcomes, key),
            Some(row) if key.first() == Some(&DROPPED) => turn.put(Space::Outcomes, key, row),
            Some(_) => {}
        }
    }
    Ok(())
}

/// The deliveries that the staged rows bring to an end, or to another one.
fn ended<S: Store>(
    turn: &Turn<S>,
    now: Wall,
    asked: impl Fn(&Turn<S>, Uuid) -> Result<Option<Asked>, StoreError>,
) -> Result<Vec<Outcome>, StoreError> {
    let mut all = Vec::new();
    let mut gone = erased_now(turn)?;
    for (key, deletes) in turn.changed(Space::Ledger) {
        if deletes {
            continue;
        }
        let Some(after) = turn.get(Space::Ledger, key)? else { continue };
        let (id, to) = keys::ledger_parts(key)?;
        let after = LedgerRow::decode(after)?;
        let mut before = committed(turn, key)?.map_or_else(Vec::new, |row| row.deliveries);
        if matches!(to, Recipient::Erased(_)) {
            // What was a person's comes behind what stood there.
            before.extend(gone.remove(&id).into_iter().flatten());
        }
        let ends: Vec<&Delivery> = new_ends(&before, &after).collect();
        if ends.is_empty() {
            continue;
        }
        let Some(asked) = asked(turn, id)? else { continue };
        all.extend(ends.into_iter().map(|delivery| outcome(id, &to, delivery, &asked, now)));
    }
    Ok(all)
}

/// A row as it was. One that cannot be read is as none: its outcomes are told again.
fn committed<S: Store>(turn: &Turn<S>, key: &[u8]) -> Result<Option<LedgerRow>, StoreError> {
    Ok(turn.store().get(Space::Ledger, key)?.and_then(|row| LedgerRow::decode(row).ok()))
}

/// How deliveries stood, by notification, of the person whose rows this turn gives to whoever stands for the erased: persons are
/// erased one after the other.
fn erased_now<S: Store>(turn: &Turn<S>) -> Result<BTreeMap<Uuid, Vec<Delivery>>, StoreError> {
    let mut gone = BTreeMap::new();
    let changed = || turn.changed(Space::Ledger);
    let is_erased = |key: &[u8]| matches!(keys::ledger_parts(key), Ok((_, Recipient::Erased(_))));
    if !changed().any(|(key, deletes)| !deletes && is_erased(key)) {
        return Ok(gone);
    }
    for (key, _) in changed().filter(|(_, deletes)| *deletes) {
        if let Some(row) = committed(turn, key)? {
            gone.insert(keys::ledger_parts(key)?.0, row.deliveries);
        }
    }
    Ok(gone)
}

/// A row's deliveries keep their places, and new ones come behind them.
fn new_ends<'a>(before: &'a [Delivery], after: &'a LedgerRow) -> impl Iterator<Item = &'a Delivery> {
    let ends = after.deliveries.iter().enumerate().filter(move |(place, delivery)| {
        let was = before.get(*place);
        !delivery.state.is_open() && was.is_none_or(|was| was.state.kind() != delivery.state.kind())
    });
    ends.map(|(_, delivery)| delivery)
}

fn outcome(id: Uuid, to: &Recipient, delivery: &Delivery, asked: &Asked, now: Wall) -> Outcome {
    let reason = match &delivery.state {
        State::Dropped(reason) => Some(reason.to_string()),
        State::DeadLettered(why) => Some(why.clone()),
        _ => None,
    };
    Outcome {
        id,
        service: asked.service.clone(),
        recipient: if matches!(to, Recipient::Erased(_)) { ERASED.to_owned() } else { to.to_string() },
        channel: delivery.channel,
        outcome: delivery.state.kind().name().to_owned(),
        reason,
        attempts: delivery.attempts,
        accepted_at: asked.accepted_at,
        ended_at: delivery.timeline.last().map_or(now, |moment| moment.at),
    }
}

fn decode(row: Bytes) -> Result<Outcome, StoreError> {
    let mut row = Decoder::new(Space::Outcomes, row, VERSION)?;
    serde_json::from_slice(&row.rest()).map_err(|error| row.damaged(error.to_string()))
}

/// The row without the name of this person. `None`: it does not hold it.
pub fn without(key: &[u8], row: &Bytes, user: &str) -> Option<Bytes> {
    if key.first() != Some(&WAITING) {
        return None;
    }
    let mut outcome = decode(row.clone()).ok()?;
    if outcome.recipient != Recipient::User(user.to_owned()).to_string() {
        return None;
    }
    ERASED.clone_into(&mut outcome.recipient);
    Some(Encoder::new(VERSION).json(&outcome).finish())
}

/// The oldest that wait, behind this number.
pub fn oldest<S: Store>(
    store: &S,
    hearer: &Hearer,
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, Option<Outcome>)>, StoreError> {
    let range = Range::prefix(&prefix(WAITING, hearer)).after(&waiting(hearer, after));
    let rows = store.scan(Space::Outcomes, &range, Order::Forward, limit)?;
    // One that cannot be read tells nothing, and holds up nobody.
    rows.into_iter().map(|(key, row)| Ok((number(&key)?, decode(row).ok()))).collect()
}

/// The receiver has them.
pub fn strike_out<S: Store>(store: &S, hearer: &Hearer, numbers: &[u64]) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    for number in numbers {
        batch.delete(Space::Outcomes, waiting(hearer, *number));
    }
    store.commit(&batch)
}

/// How many found no room, ever.
pub fn lost<S: Store>(store: &S, hearer: &Hearer) -> Result<u64, StoreError> {
    let Some(row) = store.get(Space::Outcomes, &prefix(DROPPED, hearer))? else { return Ok(0) };
    Decoder::new(Space::Outcomes, row, VERSION)?.u64()
}

/// How many wait, and since when the oldest one does.
pub fn backlog<S: Store>(store: &S, hearer: &Hearer) -> Result<(u64, Option<Wall>), StoreError> {
    let range = Range::prefix(&prefix(WAITING, hearer));
    let end = |order| store.scan(Space::Outcomes, &range, order, 1);
    let (first, last) = (end(Order::Forward)?, end(Order::Reverse)?);
    let (Some((first, row)), Some((last, _))) = (first.first(), last.first()) else { return Ok((0, None)) };
    let since = decode(row.clone()).ok().map(|outcome| outcome.ended_at);
    // Between the two looks all of them may have gone.
    Ok((number(last)?.saturating_sub(number(first)?).saturating_add(1), since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Counters, Event, Reason};
    use crate::store::MemoryStore;

    const NOW: Wall = Wall(50);

    fn shop() -> Hearer {
        Hearer::Service("shop".to_owned())
    }

    fn log(store: &MemoryStore) -> Log {
        Log::open(store, &[shop()]).expect("memory")
    }

    fn turn_of(store: &MemoryStore, id: u128, events: &[Event]) -> Turn<MemoryStore> {
        let mut turn = Turn::new(store.clone());
        stage(&mut turn, id, events);
        turn
    }

    /// One SMS to ann.
    fn stage(turn: &mut Turn<MemoryStore>, id: u128, events: &[Event]) {
        let key = keys::ledger(Uuid::from_u128(id), &Recipient::User("ann".to_owned()));
        let mut counters = Counters::decode(None).expect("none yet");
        let known = turn.get(Space::Ledger, &key).expect("memory");
        let mut row = known.map_or_else(LedgerRow::default, |row| LedgerRow::decode(row).expect("a row"));
        counters.add_row(&row);
        if row.deliveries.is_empty() {
            row.accept(Channel::Sms, Wall(1), &mut counters);
        }
        for event in events {
            assert!(row.apply(Channel::Sms, event, Wall(7), &mut counters), "{event:?}");
        }
        turn.put(Space::Ledger, key, row.encode());
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the owner's answers")]
    fn asked(_: &Turn<MemoryStore>, id: Uuid) -> Result<Option<Asked>, StoreError> {
        let service = if id.as_u128() == 9 { "other" } else { "shop" };
        Ok(Some(Asked { service: service.to_owned(), accepted_at: Wall(1) }))
    }

    fn told(store: &MemoryStore) -> Vec<(u64, u128, String)> {
        let all = oldest(store, &shop(), 0, 99).expect("memory");
        let shown = |(number, outcome): (u64, Option<Outcome>)| {
            let outcome = outcome.expect("a row");
            (number, outcome.id.as_u128(), outcome.outcome)
        };
        all.into_iter().map(shown).collect()
    }

    #[test]
    fn what_ends_is_told_once_to_its_service_and_again_when_it_ends_otherwise() {
        let store = MemoryStore::new();
        let mut log = log(&store);
        let steps: [(u128, &[Event]); 6] = [
            (1, &[]),
            (2, &[Event::Taken]),
            (1, &[Event::Wait(None)]),
            (1, &[Event::Drop(Reason::Provider("21211".to_owned()))]),
            (2, &[Event::Receipt]),
            (9, &[Event::Taken]),
        ];
        for (id, events) in steps {
            let mut turn = turn_of(&store, id, events);
            (log, _) = log.stage(&mut turn, NOW, asked).expect("memory");
            turn.commit().expect("memory");
        }
        let expected = [(1, 2, "handed_over"), (2, 1, "dropped"), (3, 2, "delivered")];
        assert_eq!(told(&store), expected.map(|(number, id, outcome)| (number, id, outcome.to_owned())));
        let dropped = oldest(&store, &shop(), 1, 1).expect("memory").remove(0).1.expect("a row");
        assert_eq!(
            serde_json::to_value(dropped).expect("JSON"),
            serde_json::json!({"id": Uuid::from_u128(1), "service": "shop", "recipient": "user:ann", "channel": "sms", "outcome": "dropped",
                "reason": "21211", "attempts": 0, "accepted_at": Wall(1), "ended_at": Wall(7)})
        );
        strike_out(&store, &shop(), &[1, 2]).expect("memory");
        assert_eq!((told(&store).len(), backlog(&store, &shop())), (1, Ok((1, Some(Wall(7))))));
    }

    #[test]
    fn a_commit_that_fails_is_told_once_with_what_came_since() {
        let store = MemoryStore::new();
        let before = log(&store);
        let mut turn = turn_of(&store, 2, &[Event::Taken]);
        before.stage(&mut turn, NOW, asked).expect("memory");
        store.fail_commits(1);
        assert!(turn.commit().is_err() && told(&store).is_empty());
        stage(&mut turn, 1, &[Event::Expire]);
        let (after, _) = before.stage(&mut turn, NOW, asked).expect("memory");
        turn.commit().expect("memory");
        let ids: Vec<u128> = told(&store).into_iter().map(|(_, id, _)| id).collect();
        assert_eq!(ids, [1, 2]);
        // A start goes on with the next number.
        assert_eq!(log(&store).by_hearer, after.by_hearer);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_what_was_taken_makes_room() {
        let store = MemoryStore::new();
        let mut turn = turn_of(&store, 1, &[Event::Taken]);
        let (mut log, _) = log(&store).stage(&mut turn, NOW, asked).expect("memory");
        turn.commit().expect("memory");
        for numbers in log.by_hearer.values_mut() {
            numbers.next = OUTCOMES_WAITING_MAX + 1;
        }
        for (id, expected) in [(2, 1), (3, 2)] {
            let mut turn = turn_of(&store, id, &[Event::Taken]);
            let (after, dropped) = log.stage(&mut turn, NOW, asked).expect("memory");
            turn.commit().expect("memory");
            assert_eq!((dropped.get(&shop()), lost(&store, &shop())), (Some(&1), Ok(expected)));
            log = after;
        }
        strike_out(&store, &shop(), &[1]).expect("memory");
        let mut turn = turn_of(&store, 4, &[Event::Taken]);
        let (_, dropped) = log.stage(&mut turn, NOW, asked).expect("memory");
        turn.commit().expect("memory");
        assert!(dropped.is_empty());
        assert_eq!(told(&store), [(OUTCOMES_WAITING_MAX + 1, 4, "handed_over".to_owned())]);
    }

    #[test]
    fn what_a_failed_commit_had_dropped_is_not_counted_if_there_is_room_by_then() {
        let store = MemoryStore::new();
        let mut turn = turn_of(&store, 1, &[Event::Taken]);
        let (mut log, _) = log(&store).stage(&mut turn, NOW, asked).expect("memory");
        turn.commit().expect("memory");
        for numbers in log.by_hearer.values_mut() {
            numbers.next = OUTCOMES_WAITING_MAX + 1;
        }
        let mut turn = turn_of(&store, 2, &[Event::Taken]);
        assert_eq!(log.stage(&mut turn, NOW, asked).expect("memory").1.len(), 1);
        store.fail_commits(1);
        assert!(turn.commit().is_err());
        strike_out(&store, &shop(), &[1]).expect("memory");
        assert!(log.stage(&mut turn, NOW, asked).expect("memory").1.is_empty());
        turn.commit().expect("memory");
        assert_eq!((lost(&store, &shop()), told(&store).len()), (Ok(0), 1));
    }

    #[test]
    fn a_service_hears_of_its_own_and_the_topic_of_all() {
        let store = MemoryStore::new();
        let mut log =
            Log::open(&store, &[shop(), Hearer::Service("other".to_owned()), Hearer::Topic]).expect("memory");
        for id in [1, 9] {
            let mut turn = turn_of(&store, id, &[Event::Taken]);
            (log, _) = log.stage(&mut turn, NOW, asked).expect("memory");
            turn.commit().expect("memory");
        }
        let waiting = |hearer: Hearer| backlog(&store, &hearer).map(|(count, _)| count);
        assert_eq!((waiting(shop()), waiting(Hearer::Service("other".to_owned()))), (Ok(1), Ok(1)));
        assert_eq!((waiting(Hearer::Topic), waiting(Hearer::Service("sho".to_owned()))), (Ok(2), Ok(0)));
    }
}
