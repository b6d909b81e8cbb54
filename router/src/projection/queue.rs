//! What has changed in the store and is not in Cassandra yet: names of rows, in the order of their commits.
//!
//! Owns the rows of [`Space::Projected`]. They are written in the commit that they tell of, so no crash parts the two.
//! Only names are kept: whoever carries them reads the row as it is then, so that carrying one twice is harmless and a
//! name that stands ten times costs one write. A number is also the time that its writes have in Cassandra.
//! Pure but for the turn. Written by `owner` alone; read by `carrier`.

use bytes::Bytes;
use wire::time::Wall;

use crate::store::codec::{Decoder, Encoder};
use crate::store::turn::Turn;
use crate::store::{Order, Range, Row, Space, Store, StoreError};

/// Spaces whose changes are told.
pub const SPACES: [Space; 4] = [Space::Ledger, Space::Inbox, Space::Marks, Space::Subscriptions];

const VERSION: u8 = 1;
/// In [`Space::Meta`].
const STATE_KEY: &[u8] = b"projected";
/// What a person's row begins with; numbers never do.
const ERASURE: u8 = u8::MAX;
/// The part of the bound that is left to deletions: a row that is never written again comes from the store later, one
/// that was never deleted does not.
const DELETIONS_SHARE: u64 = 4;

/// What is known without reading the queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The newest number.
    pub last: u64,
    /// Bytes that were ever queued.
    pub bytes: u64,
    /// What came before this queue was made is not in this store; where it is looked for is Cassandra.
    pub history_until: Option<Wall>,
    /// There is more in the store than was queued: all of it has to be carried.
    pub incomplete: Option<Incomplete>,
}

/// Why the store has to be read from end to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    pub since: Wall,
    /// The newest number when something was last left out.
    pub until: u64,
    /// Deletions that were left out, too: what they took may still be shown by Cassandra until its time is over.
    pub deletions_lost: u64,
}

impl State {
    pub fn load<S: Store>(store: &S) -> Result<Option<State>, StoreError> {
        store.get(Space::Meta, STATE_KEY)?.map(State::decode).transpose()
    }

    fn decode(row: Bytes) -> Result<State, StoreError> {
        let mut row = Decoder::new(Space::Meta, row, VERSION)?;
        let (last, bytes, history_until) = (row.u64()?, row.u64()?, row.optional_wall()?);
        let (since, until, deletions_lost) = (row.optional_wall()?, row.u64()?, row.u64()?);
        let incomplete = since.map(|since| Incomplete { since, until, deletions_lost });
        Ok(State { last, bytes, history_until, incomplete })
    }

    fn keep<S: Store>(&self, turn: &mut Turn<S>) {
        let mut row = Encoder::new(VERSION);
        row.u64(self.last).u64(self.bytes).optional_wall(self.history_until);
        let incomplete = self.incomplete.as_ref();
        row.optional_wall(incomplete.map(|incomplete| incomplete.since));
        row.u64(incomplete.map_or(0, |incomplete| incomplete.until));
        row.u64(incomplete.map_or(0, |incomplete| incomplete.deletions_lost));
        turn.put(Space::Meta, STATE_KEY.to_vec(), row.finish());
    }
}

/// The names that one commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub number: u64,
    /// Bytes that were queued before it, ever.
    pub bytes_before: u64,
    pub names: Vec<(Space, Vec<u8>)>,
}

fn number_of(key: &[u8]) -> Result<u64, StoreError> {
    let damaged = |_| StoreError::Damaged { space: Space::Projected, what: "a key of another layout".into() };
    key.try_into().map(u64::from_be_bytes).map_err(damaged)
}

impl Changes {
    fn decode(key: &[u8], row: Bytes) -> Result<Changes, StoreError> {
        let number = number_of(key)?;
        let mut row = Decoder::new(Space::Projected, row, VERSION)?;
        let (bytes_before, count) = (row.u64()?, row.count(5)?);
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            let space = row.u8()?;
            let space = SPACES.get(usize::from(space)).ok_or_else(|| row.damaged("an unknown space"))?;
            names.push((*space, row.bytes()?));
        }
        Ok(Changes { number, bytes_before, names })
    }
}

/// A person whose rows have to go, wherever Cassandra has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    pub user: String,
    /// The number that the erasure was committed under.
    pub number: u64,
}

/// Commits behind `after`, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    pub changes: Vec<Changes>,
    /// The last row that could not be read. It stands among the changes without a name; the owner has the whole store
    /// carried when it strikes it out.
    pub damage: Option<StoreError>,
}

pub fn read<S: Store>(store: &S, after: u64, limit: usize) -> Result<Waiting, StoreError> {
    let rows = store.scan(Space::Projected, &numbers().after(&after.to_be_bytes()), Order::Forward, limit)?;
    let mut waiting = Waiting::default();
    for (key, row) in rows {
        let changes = match Changes::decode(&key, row) {
            Ok(changes) => changes,
            Err(damage) => {
                waiting.damage = Some(damage);
                Changes { number: number_of(&key)?, bytes_before: u64::MAX, names: Vec::new() }
            }
        };
        waiting.changes.push(changes);
    }
    Ok(waiting)
}

/// People who wait to be erased.
pub fn erasures<S: Store>(store: &S, limit: usize) -> Result<Vec<Erasure>, StoreError> {
    let rows = store.scan(Space::Projected, &Range::prefix(&[ERASURE]), Order::Forward, limit)?;
    let erasure = |(key, row): Row| {
        let mut row = Decoder::new(Space::Projected, row, VERSION)?;
        let user = String::from_utf8(key[1..].to_vec()).map_err(|_| row.damaged("a name is not UTF-8"))?;
        Ok(Erasure { user, number: row.u64()? })
    };
    rows.into_iter().map(erasure).collect()
}

/// Whether this person still waits to be erased, and under which number.
pub fn waits_for_erasure<S: Store>(store: &S, user: &str) -> Result<Option<u64>, StoreError> {
    let row = store.get(Space::Projected, &erasure_key(user))?;
    row.map(|row| Decoder::new(Space::Projected, row, VERSION)?.u64()).transpose()
}

/// The same, with what the turn under way has done.
pub fn is_being_erased<S: Store>(turn: &Turn<S>, user: &str) -> Result<bool, StoreError> {
    Ok(turn.get(Space::Projected, &erasure_key(user))?.is_some())
}

fn erasure_key(user: &str) -> Vec<u8> {
    [&[ERASURE], user.as_bytes()].concat()
}

fn numbers() -> Range {
    Range::all().before(&[ERASURE])
}

/// This store was put back from a backup: what came since is in Cassandra alone.
pub fn put_back<S: Store>(store: &S, now: Wall) -> Result<(), StoreError> {
    let Some(state) = State::load(store)? else { return Ok(()) };
    let mut turn = Turn::new(store.clone());
    State { history_until: Some(now), ..state }.keep(&mut turn);
    turn.commit()
}

/// A run without Cassandra begins: what changes in it is not queued.
pub fn neglected<S: Store>(turn: &mut Turn<S>, now: Wall) -> Result<(), StoreError> {
    let Some(mut state) = State::load(turn.store())? else { return Ok(()) };
    let since = state.incomplete.take().unwrap_or(Incomplete { since: now, until: 0, deletions_lost: 0 });
    state.incomplete = Some(Incomplete { until: state.last, ..since });
    state.keep(turn);
    Ok(())
}

/// The same run erases a person: the rows go from Cassandra once there is one again.
pub fn erase_later<S: Store>(turn: &mut Turn<S>, user: &str, now: Wall) -> Result<(), StoreError> {
    let Some(row) = turn.get(Space::Meta, STATE_KEY)? else { return Ok(()) };
    let mut state = State::decode(row)?;
    state.last = u64::try_from(now.0).unwrap_or(0).max(state.last + 1);
    turn.put(Space::Projected, erasure_key(user), Encoder::new(VERSION).u64(state.last).finish());
    state.keep(turn);
    Ok(())
}

/// What waits behind `done`: its bytes, and the number of the oldest commit among it.
pub fn waiting<S: Store>(store: &S, done: u64) -> Result<(u64, Option<u64>), StoreError> {
    let Some(oldest) = read(store, done, 1)?.changes.pop() else { return Ok((0, None)) };
    let bytes = State::load(store)?.map_or(0, |state| state.bytes);
    Ok((bytes.saturating_sub(oldest.bytes_before), Some(oldest.number)))
}

/// Where that is what came before this queue was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// In the store.
    Here,
    /// In Cassandra, if anywhere: the store is new.
    Elsewhere,
    /// There is none: the store is new and Cassandra is empty.
    None,
}

/// The owner's end of the queue.
#[derive(Debug, Clone)]
pub struct Queue {
    bytes_max: u64,
    state: State,
    /// Bytes that were ever queued before the oldest row that is left.
    bytes_carried: u64,
    /// The oldest row that is left has this number or a later one.
    first: u64,
    /// What the commit under way will be numbered, and the state that stands once it is there.
    staged: Option<(u64, State)>,
}

impl Queue {
    /// `past`: where it is when the store has had no Cassandra yet. What an older store holds has to be carried as a whole.
    pub fn open<S: Store>(store: &S, bytes_max: u64, past: Past, now: Wall) -> Result<Queue, StoreError> {
        let incomplete = Incomplete { since: now, until: 0, deletions_lost: 0 };
        let first_time = || State {
            history_until: (past == Past::Elsewhere).then_some(now),
            incomplete: (past == Past::Here).then_some(incomplete),
            ..State::default()
        };
        let state = State::load(store)?.unwrap_or_else(first_time);
        let oldest = read(store, 0, 1)?.changes.pop();
        let (first, bytes_carried) = oldest.map_or((state.last, state.bytes), |oldest| {
            (oldest.number, oldest.bytes_before.min(state.bytes))
        });
        Ok(Queue { bytes_max, state, bytes_carried, first, staged: None })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn waiting_bytes(&self) -> u64 {
        self.state.bytes.saturating_sub(self.bytes_carried)
    }

    /// The number of the commit under way. A commit that is tried again keeps it.
    fn number(&mut self, now: Wall) -> u64 {
        let Queue { staged, state, .. } = self;
        let next = || {
            let number = u64::try_from(now.0).unwrap_or(0).max(state.last + 1);
            (number, state.clone())
        };
        staged.get_or_insert_with(next).0
    }

    /// Told in every commit before it is made: what it changes is queued with it.
    pub fn stage<S: Store>(&mut self, turn: &mut Turn<S>, now: Wall) {
        let is_first = self.state.last == 0;
        if !is_first && self.staged.is_none() && SPACES.iter().all(|space| !turn.has_changed(*space)) {
            return;
        }
        let number = self.number(now);
        let waiting = self.waiting_bytes();
        let takes_all = waiting < self.bytes_max;
        let takes_deletions = waiting < self.bytes_max + self.bytes_max / DELETIONS_SHARE;
        let (mut names, mut count) = (Encoder::bare(), 0);
        let (mut left_out, mut deletions_lost) = (false, 0);
        for (i, space) in SPACES.iter().enumerate() {
            for (key, is_deletion) in turn.changed(*space) {
                if takes_all || (is_deletion && takes_deletions) {
                    names.u8(i as u8).run(key);
                    count += 1;
                } else {
                    left_out = true;
                    deletions_lost += u64::from(is_deletion);
                }
            }
        }
        let mut state = State { last: number, ..self.state.clone() };
        if left_out {
            let before = state.incomplete.take();
            let lost_before = before.as_ref().map_or(0, |before| before.deletions_lost);
            state.incomplete = Some(Incomplete {
                since: before.map_or(now, |before| before.since),
                until: number,
                deletions_lost: lost_before + deletions_lost,
            });
        }
        if count > 0 {
            let names = names.finish();
            let mut row = Encoder::new(VERSION);
            row.u64(state.bytes).u32(count).rest(&names);
            let row = row.finish();
            state.bytes += row.len() as u64;
            turn.put(Space::Projected, number.to_be_bytes().to_vec(), row);
        }
        state.keep(turn);
        self.staged = Some((number, state));
    }

    /// The commit is made. Its number, if it changed anything.
    pub fn committed(&mut self) -> Option<u64> {
        let (number, state) = self.staged.take()?;
        self.state = state;
        Some(number)
    }

    /// A person's rows go from Cassandra, too, those that this store never had among them.
    pub fn erase<S: Store>(&mut self, turn: &mut Turn<S>, user: &str, now: Wall) {
        let number = self.number(now);
        turn.put(Space::Projected, erasure_key(user), Encoder::new(VERSION).u64(number).finish());
    }

    /// Cassandra has everything up to `through`: at most `limit` rows of it go. True: there are more.
    pub fn carried<S: Store>(
        &mut self,
        turn: &mut Turn<S>,
        through: u64,
        limit: usize,
    ) -> Result<bool, StoreError> {
        let range = numbers().starting(&self.first.to_be_bytes()).before(&(through + 1).to_be_bytes());
        let rows = turn.scan(Space::Projected, &range, Order::Forward, limit)?;
        let more = rows.len() == limit;
        for (key, row) in rows {
            self.first = number_of(&key)? + 1;
            match Changes::decode(&key, row.clone()) {
                Ok(changes) => self.bytes_carried = changes.bytes_before + row.len() as u64,
                Err(_) => self.carry_all(turn),
            }
            turn.delete(Space::Projected, key);
        }
        Ok(more)
    }

    /// Names were lost: the store has to be read from end to end.
    fn carry_all<S: Store>(&mut self, turn: &mut Turn<S>) {
        let State { last, incomplete, .. } = &mut self.state;
        let since = incomplete.take().unwrap_or(Incomplete {
            since: Wall(last.cast_signed()),
            until: 0,
            deletions_lost: 0,
        });
        *incomplete = Some(Incomplete { until: *last, ..since });
        self.state.keep(turn);
    }

    /// This person's rows are gone from Cassandra.
    pub fn erased<S: Store>(&mut self, turn: &mut Turn<S>, erasure: &Erasure) -> Result<(), StoreError> {
        let key = erasure_key(&erasure.user);
        let Some(row) = turn.get(Space::Projected, &key)? else { return Ok(()) };
        // Erased again since: that one is to be carried, too.
        if Decoder::new(Space::Projected, row, VERSION)?.u64()? == erasure.number {
            turn.delete(Space::Projected, key);
        }
        Ok(())
    }

    /// The whole store was carried as it was at `until` or later. True: nothing is missing any more.
    pub fn rebuilt<S: Store>(&mut self, turn: &mut Turn<S>, until: u64) -> bool {
        let is_over = self.state.incomplete.as_ref().is_some_and(|incomplete| incomplete.until <= until);
        if is_over {
            self.state.incomplete = None;
            self.state.keep(turn);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    const NOW: Wall = Wall(1_000_000);
    const ROOM: u64 = 1 << 20;

    fn key(name: &str) -> Vec<u8> {
        name.as_bytes().to_vec()
    }

    /// A store that had a first commit, and the owner's end of its queue.
    fn opened(bytes_max: u64, past: Past) -> (MemoryStore, Turn<MemoryStore>, Queue) {
        let store = MemoryStore::new();
        let mut turn = Turn::new(store.clone());
        let mut queue = Queue::open(&store, bytes_max, past, NOW).expect("memory");
        commit(&mut turn, &mut queue);
        (store, turn, queue)
    }

    fn commit(turn: &mut Turn<MemoryStore>, queue: &mut Queue) -> Option<u64> {
        queue.stage(turn, NOW);
        turn.commit().expect("memory");
        queue.committed()
    }

    fn put(turn: &mut Turn<MemoryStore>, space: Space, name: &str) {
        turn.put(space, key(name), Bytes::from_static(b"row"));
    }

    fn names(store: &MemoryStore) -> Vec<Vec<u8>> {
        let waiting = read(store, 0, 100).expect("memory");
        waiting.changes.into_iter().flat_map(|changes| changes.names).map(|(_, key)| key).collect()
    }

    #[test]
    fn a_commit_s_changes_are_queued_with_it_and_go_when_they_were_carried() {
        let (store, mut turn, mut queue) = opened(ROOM, Past::Elsewhere);
        put(&mut turn, Space::Inbox, "a");
        put(&mut turn, Space::Due, "nobody's business");
        turn.delete(Space::Ledger, key("b"));
        let first = commit(&mut turn, &mut queue).expect("a number");
        put(&mut turn, Space::Marks, "c");
        let second = commit(&mut turn, &mut queue).expect("a number");
        assert!(second > first && first >= NOW.0.cast_unsigned());
        assert_eq!(names(&store), [key("b"), key("a"), key("c")]);
        assert_eq!(commit(&mut turn, &mut queue), None, "nothing changed");
        assert_eq!(waiting(&store, 0).expect("memory"), (queue.waiting_bytes(), Some(first)));
        assert_eq!(waiting(&store, first).expect("memory").1, Some(second));
        assert_eq!(queue.carried(&mut turn, first, 10), Ok(false));
        assert_eq!(commit(&mut turn, &mut queue), None, "what goes is no change");
        assert_eq!(names(&store), [key("c")]);
        assert_eq!(queue.carried(&mut turn, second, 10), Ok(false));
        turn.commit().expect("memory");
        assert_eq!((names(&store).len(), queue.waiting_bytes()), (0, 0));
        assert_eq!(waiting(&store, 0).expect("memory"), (0, None));
    }

    #[test]
    fn a_commit_that_is_tried_again_is_queued_once_with_all_that_it_has_by_then() {
        let (store, mut turn, mut queue) = opened(ROOM, Past::Elsewhere);
        put(&mut turn, Space::Inbox, "a");
        queue.stage(&mut turn, NOW);
        store.fail_commits(1);
        turn.commit().expect_err("an injected failure");
        put(&mut turn, Space::Inbox, "b");
        queue.stage(&mut turn, Wall(NOW.0 + 5));
        turn.commit().expect("memory");
        let number = queue.committed().expect("a number");
        assert_eq!(names(&store), [key("a"), key("b")]);
        let state = State::load(&store).expect("memory").expect("there is one");
        assert_eq!((state.last, &state), (number, queue.state()));
    }

    #[test]
    fn numbers_rise_whatever_the_clock_does() {
        let (store, mut turn, mut queue) = opened(ROOM, Past::Elsewhere);
        let mut last = 0;
        for wall in [5, -7, 2_000_000, 3] {
            put(&mut turn, Space::Inbox, "a");
            queue.stage(&mut turn, Wall(wall));
            turn.commit().expect("memory");
            let number = queue.committed().expect("a number");
            assert!(number > last);
            last = number;
        }
        let reopened = Queue::open(&store, ROOM, Past::Here, NOW).expect("memory");
        assert_eq!((reopened.state().last, reopened.waiting_bytes()), (last, queue.waiting_bytes()));
    }

    #[test]
    fn when_it_is_full_rows_come_from_the_store_later_and_deletions_have_room_of_their_own() {
        let (store, mut turn, mut queue) = opened(200, Past::Elsewhere);
        let mut number = 0;
        while queue.state().incomplete.is_none() {
            number += 1;
            put(&mut turn, Space::Inbox, &format!("put {number}"));
            commit(&mut turn, &mut queue);
        }
        assert!((200..300).contains(&queue.waiting_bytes()));
        assert!(!names(&store).contains(&key(&format!("put {number}"))), "it was left out");
        turn.delete(Space::Inbox, key("gone"));
        commit(&mut turn, &mut queue);
        assert_eq!(names(&store).last(), Some(&key("gone")));
        assert_eq!(queue.state().incomplete.as_ref().map(|incomplete| incomplete.deletions_lost), Some(0));
        for i in 0..20 {
            turn.delete(Space::Inbox, key(&format!("gone {i}")));
            commit(&mut turn, &mut queue);
        }
        let incomplete = queue.state().incomplete.clone().expect("it is full");
        assert!(incomplete.deletions_lost > 0 && queue.waiting_bytes() < 300);
        assert!(!queue.rebuilt(&mut turn, incomplete.until - 1), "more was left out since");
        assert!(queue.rebuilt(&mut turn, incomplete.until));
        commit(&mut turn, &mut queue);
        assert_eq!(State::load(&store).expect("memory").expect("there is one").incomplete, None);
    }

    #[test]
    fn a_new_store_has_its_history_elsewhere_and_an_older_one_is_carried_as_a_whole() {
        let (store, ..) = opened(ROOM, Past::Elsewhere);
        let state = State::load(&store).expect("memory").expect("there is one");
        assert_eq!((state.history_until, state.incomplete), (Some(NOW), None));
        let (store, ..) = opened(ROOM, Past::Here);
        let state = State::load(&store).expect("memory").expect("there is one");
        assert_eq!((state.history_until, state.incomplete.map(|it| it.until)), (None, Some(0)));
        let (store, ..) = opened(ROOM, Past::None);
        let state = State::load(&store).expect("memory").expect("there is one");
        assert_eq!((state.history_until, state.incomplete), (None, None));
    }

    #[test]
    fn a_store_that_was_put_back_has_what_came_since_elsewhere() {
        let (store, mut turn, mut queue) = opened(ROOM, Past::Here);
        put(&mut turn, Space::Inbox, "a");
        commit(&mut turn, &mut queue);
        let later = Wall(NOW.0 + 9);
        put_back(&store, later).expect("memory");
        let queue = Queue::open(&store, ROOM, Past::Here, later).expect("memory");
        assert_eq!((queue.state().history_until, names(&store)), (Some(later), vec![key("a")]));
        let other = MemoryStore::new();
        put_back(&other, later).expect("memory");
        assert_eq!(State::load(&other), Ok(None), "it never had a Cassandra");
    }

    #[test]
    fn after_a_run_without_cassandra_the_store_is_carried_as_a_whole() {
        let (store, mut turn, mut queue) = opened(ROOM, Past::Elsewhere);
        put(&mut turn, Space::Inbox, "a");
        let number = commit(&mut turn, &mut queue).expect("a number");
        neglected(&mut turn, NOW).expect("memory");
        turn.commit().expect("memory");
        let mut queue = Queue::open(&store, ROOM, Past::Here, NOW).expect("memory");
        assert_eq!(queue.state().incomplete.as_ref().map(|incomplete| incomplete.until), Some(number));
        assert_eq!((names(&store), queue.rebuilt(&mut turn, number)), (vec![key("a")], true));
    }

    #[test]
    fn a_row_that_cannot_be_read_holds_nothing_up_and_has_the_whole_store_carried() {
        let (store, mut turn, mut queue) = opened(ROOM, Past::None);
        put(&mut turn, Space::Inbox, "a");
        let broken = commit(&mut turn, &mut queue).expect("a number");
        put(&mut turn, Space::Inbox, "b");
        let last = commit(&mut turn, &mut queue).expect("a number");
        turn.put(Space::Projected, broken.to_be_bytes().to_vec(), Bytes::from_static(b"\xff"));
        turn.commit().expect("memory");
        let waiting = read(&store, 0, 10).expect("memory");
        assert!(matches!(waiting.damage, Some(StoreError::Damaged { .. })));
        assert_eq!(waiting.changes.iter().map(|one| one.number).collect::<Vec<_>>(), [broken, last]);
        assert_eq!(names(&store), [key("b")]);
        assert_eq!(queue.carried(&mut turn, last, 10), Ok(false));
        commit(&mut turn, &mut queue);
        let state = State::load(&store).expect("memory").expect("there is one");
        assert_eq!(state.incomplete.map(|incomplete| incomplete.until), Some(last));
        assert_eq!(queue.waiting_bytes(), 0);
    }

    #[test]
    fn an_erasure_waits_apart_and_goes_by_its_own_number() {
        let (store, mut turn, mut queue) = opened(0, Past::Elsewhere);
        queue.erase(&mut turn, "ada", NOW);
        turn.delete(Space::Inbox, key("a"));
        let number = commit(&mut turn, &mut queue).expect("a number");
        let first = Erasure { user: "ada".to_owned(), number };
        assert_eq!(erasures(&store, 9), Ok(vec![first.clone()]));
        assert_eq!(waits_for_erasure(&store, "ada"), Ok(Some(number)));
        queue.erase(&mut turn, "ada", NOW);
        commit(&mut turn, &mut queue);
        queue.erased(&mut turn, &first).expect("memory");
        turn.commit().expect("memory");
        let second = erasures(&store, 9).expect("memory").remove(0);
        let waits = waits_for_erasure(&store, "ada");
        assert_eq!(
            (waits, second.number > number),
            (Ok(Some(second.number)), true),
            "she was erased again since"
        );
        queue.erased(&mut turn, &second).expect("memory");
        turn.commit().expect("memory");
        assert_eq!(waits_for_erasure(&store, "ada"), Ok(None));
        assert!(names(&store).iter().all(|name| name.as_slice() != b"ada"), "no name among the numbers");
    }
}
