//! The owner: takes what comes from the journal, the links, the providers and the API, and decides.
//!
//! Pure but for its store. One input at a time, in order; an input changes everything it should or nothing (`desk`).
//! [`Owner::commit`] writes all of it in one batch, and only then do outputs show, so nothing is sent that a crash
//! could make undone. An input that the store fails is kept and tried again before the next commit: nothing is lost,
//! nothing overtakes. An input that meets a damaged row is dead-lettered or refused, and the rest goes on.
//! Driven by the edge, on one thread of its own: handle up to a bound, commit, drain the outputs.
//!
//! The walk of a notification is `pipeline`; what it decides is done in `intake`.

use std::collections::VecDeque;
use std::time::Duration;

use wire::link::Frame;
use wire::time::{Mono, Wall};

use crate::journal::Entry;
use crate::limit::{Limits, Meter};
use crate::limits::DIGEST_ROWS_PER_TURN_MAX;
use crate::pipeline::Rules;
use crate::presence::Presence;
use crate::record::Record;
use crate::store::keys;
use crate::store::{Space, Store, StoreError};
use crate::sync::history::History;
use clock::Steady;
use desk::Desk;

mod answers;
mod calls;
mod cancellations;
mod clients;
mod clock;
mod commands;
mod desk;
mod digests;
mod erasure;
mod flights;
mod intake;
mod letters;
mod logs;
mod marks;
mod otp;
mod outage;
mod outcomes;
mod parked;
mod people;
mod projected;
mod receipts;
mod retention;
mod scheduled;
mod tickets;
mod timers;
pub mod view;
mod words;

pub use clock::Tick;
pub use erasure::Erasure;
pub use retention::{Kept, Removed};
pub use view::View;
pub use words::{
    ActElsewhere, Answer, Answered, Carried, Command, DeliveryKey, Done, Held, HistoryAsked, LinkId, Now,
    OtpOpened, Outcome, Output, OwnerConfig, OwnerLimits, Ownership, ProviderCall, Receipt, Said, Told, Wish,
};

/// Things that are due and done in one call of [`Owner::handle_timeout`].
const DUE_PER_TURN_MAX: usize = 256;
/// Unfinished calls of the run before that one call takes up again.
const RESUMED_PER_TURN_MAX: usize = 128;
/// Users of each dead link that one call forgets: a link may have had half a million.
const FORGOTTEN_PER_TURN_MAX: usize = 256;

#[derive(Debug)]
enum Input {
    Entry(Entry),
    Bypass(Record),
    Ownership(Ownership),
    LinkUp(LinkId, String, u16),
    LinkFrame(LinkId, Frame),
    LinkDown(LinkId),
    Outcome(DeliveryKey, Outcome),
    Carried(Carried),
    History(HistoryAsked, Result<Option<History>, String>),
    Command(u64, Command),
    /// A key of the space of that name.
    Due(Vec<u8>),
    Resume(Vec<u8>),
    /// A key of the space of ages.
    Aged(Vec<u8>),
    AgedLogs,
    /// The next rows of the erasure under way.
    Erase,
}

#[derive(Debug)]
pub struct Owner<S: Store> {
    desk: Desk<S>,
    presence: Presence,
    meter: Meter,
    limits: Limits,
    steady: Steady,
    /// The store failed the first of these. No more come while a commit fails, so their number is bounded by a turn.
    waiting: VecDeque<(Input, Now)>,
    erasure: Option<erasure::Work>,
    /// Where to go on with the unfinished calls of the run before.
    resume: Option<Vec<u8>>,
    /// Nothing that is due is done before.
    quiet_until: Mono,
}

impl<S: Store> Owner<S> {
    /// Takes up what the ledger holds open: times stand as they were, and provider calls without an outcome are
    /// provided again under their delivery ids (from [`Owner::handle_timeout`], a bounded number at a time).
    /// `seed` must differ from run to run.
    pub fn open(store: S, mut config: OwnerConfig, seed: u64, now: Now) -> Result<Owner<S>, StoreError> {
        config.partitions = config.partitions.max(1);
        if config.owned.is_empty() {
            config.owned = (0..config.partitions).collect();
        }
        let owned = config.owned.iter().copied().collect();
        let (erasure, erased_until) = erasure::unfinished(&store)?;
        let mut desk = Desk::open(store, config.clone(), seed, now.wall)?;
        desk.erased_until = erased_until;
        Ok(Owner {
            presence: Presence::new(config.partitions, owned, now.mono),
            meter: Meter::new(config.global_per_s, config.shed_low_percent),
            limits: Limits { push_per_user_hour: config.push_per_user_hour },
            steady: Steady::new(now, desk.reached()),
            desk,
            waiting: VecDeque::new(),
            erasure,
            resume: Some(Vec::new()),
            quiet_until: Mono::ZERO,
        })
    }

    /// Does nothing that is due before: what clients said while nobody owned them comes first.
    pub fn keep_quiet(&mut self, until: Mono) {
        self.quiet_until = until;
        self.presence.be_patient(until);
    }

    /// The owners of one router count deliveries on one meter: each has it while it decides.
    pub fn swap_meter(&mut self, meter: &mut Meter) {
        std::mem::swap(&mut self.meter, meter);
    }

    pub fn view(&self) -> View<S> {
        View::new(self.desk.turn.store().clone())
    }

    /// One journal record, or poison. Given again, it changes nothing.
    pub fn handle_entry(&mut self, entry: Entry, now: Now) {
        self.take(Input::Entry(entry), now);
    }

    /// A critical record that is durable on our own disk, ahead of its coming by the journal.
    pub fn handle_bypass(&mut self, record: Record, now: Now) {
        self.take(Input::Bypass(record), now);
    }

    pub fn handle_ownership(&mut self, ownership: Ownership, now: Now) {
        self.take(Input::Ownership(ownership), now);
    }

    pub fn handle_link_up(&mut self, link: LinkId, node: &str, shard: u16, now: Now) {
        self.take(Input::LinkUp(link, node.to_owned(), shard), now);
    }

    pub fn handle_link_frame(&mut self, link: LinkId, frame: Frame, now: Now) {
        self.take(Input::LinkFrame(link, frame), now);
    }

    pub fn handle_link_down(&mut self, link: LinkId, now: Now) {
        self.take(Input::LinkDown(link), now);
    }

    pub fn handle_outcome(&mut self, delivery: DeliveryKey, outcome: Outcome, now: Now) {
        self.take(Input::Outcome(delivery, outcome), now);
    }

    /// Cassandra has it.
    pub fn handle_carried(&mut self, carried: Carried, now: Now) {
        self.take(Input::Carried(carried), now);
    }

    /// What Cassandra has of it, or why it does not answer. `None`: it has nothing that is not here.
    pub fn handle_history(&mut self, asked: HistoryAsked, found: Result<Option<History>, String>, now: Now) {
        self.take(Input::History(asked, found), now);
    }

    /// Other limits from here on; what was counted under the old ones still counts.
    pub fn handle_limits(&mut self, limits: &OwnerLimits) {
        self.meter.change(limits.global_per_s, limits.shed_low_percent);
        self.limits.push_per_user_hour = limits.push_per_user_hour;
    }

    /// Answered by [`Output::Answer`] with the same `token`.
    pub fn handle_command(&mut self, token: u64, command: Command, now: Now) {
        self.take(Input::Command(token, command), now);
    }

    /// `Some` in the past: there is more to do than one call does.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if !self.waiting.is_empty() {
            // The next commit tries them again.
            return None;
        }
        let due = self.desk.due_from.map(|at| self.steady.mono(at).max(self.quiet_until));
        let resume = self.resume.as_ref().map(|_| Mono::ZERO);
        let sweep = Some(self.steady.mono(self.desk.sweep.next()));
        let erase = self.erasure.as_ref().map(|_| Mono::ZERO);
        let forget = self.presence.is_forgetting().then_some(Mono::ZERO);
        [due, resume, sweep, erase, forget].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Now) {
        if !self.waiting.is_empty() {
            return;
        }
        // A failed read leaves everything due; the next commit finds out whether the store is back.
        if now.mono >= self.quiet_until {
            let due = self.desk.due(self.steady.tick(now).steady, DUE_PER_TURN_MAX).unwrap_or_default();
            self.desk.gathered = 0;
            for key in due {
                if self.desk.gathered >= DIGEST_ROWS_PER_TURN_MAX {
                    // The rest stays due: all users of a zone wake at one moment.
                    self.desk.due_from = Some(keys::due_parts(&key).map_or(Wall(i64::MIN), |(at, ..)| at));
                    break;
                }
                self.take(Input::Due(key), now);
            }
        }
        if let Some(after) = self.resume.take() {
            let after_key = (!after.is_empty()).then_some(after.as_slice());
            self.resume = match timers::unfinished_calls(&self.desk, after_key, RESUMED_PER_TURN_MAX) {
                Ok(calls) => {
                    let next = calls.last().filter(|_| calls.len() == RESUMED_PER_TURN_MAX).cloned();
                    for key in calls {
                        self.take(Input::Resume(key), now);
                    }
                    next
                }
                Err(_) => Some(after),
            };
        }
        self.sweep(now);
        self.presence.forget_gone(FORGOTTEN_PER_TURN_MAX);
        if self.erasure.is_some() {
            self.take(Input::Erase, now);
        }
    }

    /// What retention has to look at now, a bounded number of rows of it.
    fn sweep(&mut self, now: Now) {
        let steady = self.steady.tick(now).steady;
        if !self.waiting.is_empty() || self.desk.sweep.next() > steady {
            return;
        }
        let Ok(due) = retention::due(&mut self.desk, steady) else {
            return retention::put_off(&mut self.desk, steady);
        };
        for key in due {
            self.take(Input::Aged(key.clone()), now);
            if !self.waiting.is_empty() || !retention::looked(&mut self.desk, &key) {
                return;
            }
        }
        if retention::logs_are_due(&self.desk, steady) {
            self.take(Input::AgedLogs, now);
        }
        if self.waiting.is_empty() {
            retention::settle(&mut self.desk, steady);
        }
    }

    /// What retention removed and what it has yet to look at.
    pub fn kept(&self) -> Kept {
        Kept { removed: self.desk.sweep.removed(), oldest: self.desk.sweep.oldest() }
    }

    /// One store batch for everything handled since the last commit. On an error nothing is lost: handle nothing
    /// more, and call it again.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        while let Some((input, now)) = self.waiting.pop_front() {
            if let Err(error) = self.attempt(&input, now) {
                self.waiting.push_front((input, now));
                return Err(error);
            }
        }
        self.desk.commit()
    }

    /// What was committed wants done, in this order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.desk.poll()
    }

    /// How long the journal should not be read, because more comes in than is allowed a second.
    pub fn reading_pause(&self, now: Now) -> Option<Duration> {
        self.meter.pause(now.mono)
    }

    /// Users that are connected somewhere, and for a while those of dead links.
    pub fn users_present(&self) -> usize {
        self.presence.users()
    }

    fn take(&mut self, input: Input, now: Now) {
        if !self.waiting.is_empty() || self.attempt(&input, now).is_err() {
            self.waiting.push_back((input, now));
        }
    }

    /// All of one input or nothing. `Err`: the store failed.
    fn attempt(&mut self, input: &Input, now: Now) -> Result<(), StoreError> {
        let tick = self.steady.tick(now);
        self.desk.steady = tick.steady;
        self.desk.mark();
        let mut result = self.apply(input, tick);
        if let Err(damage @ StoreError::Damaged { .. }) = &result {
            let damage = damage.to_string();
            self.desk.undo();
            self.desk.mark();
            result = self.refuse(input, &damage, tick);
        }
        result.inspect_err(|_| self.desk.undo())
    }

    fn apply(&mut self, input: &Input, now: Tick) -> Result<(), StoreError> {
        let Owner { desk, presence, meter, limits, erasure, .. } = self;
        let mut rules = Rules { presence, meter, limits: *limits };
        match input {
            Input::Entry(entry) => intake::entry(desk, &mut rules, entry, now),
            Input::Bypass(record) => outage::bypass(desk, &mut rules, record, now),
            Input::Outcome(delivery, outcome) => outcomes::outcome(desk, delivery, outcome, now),
            Input::Carried(carried) => projected::carried(desk, carried),
            Input::History(asked, found) => clients::history(desk, presence, asked, found.as_ref(), now),
            Input::Command(token, Command::Erase { user }) => {
                erasure::ask(desk, presence, erasure, *token, user, now)
            }
            Input::Command(token, command) => {
                let answer = commands::command(desk, &mut rules, command, now)?;
                desk.say(Output::Answer { token: *token, answer });
                Ok(())
            }
            Input::Due(key) => timers::due(desk, &mut rules, key, now),
            Input::Resume(key) => timers::resume(desk, key, now),
            Input::Aged(key) => retention::look(desk, key, now),
            Input::AgedLogs => retention::look_at_logs(desk, now),
            Input::Erase => erasure::go_on(desk, erasure, now),
            Input::LinkUp(link, node, shard) => clients::link_up(desk, presence, *link, (node, *shard), now),
            Input::LinkFrame(link, frame) => clients::frame(desk, presence, *link, frame, now),
            Input::LinkDown(link) => {
                presence.link_down(*link);
                desk.flights.link_down(*link, desk.stamps.last.unwrap_or_default());
                Ok(())
            }
            Input::Ownership(ownership) => {
                take_over(desk, presence, ownership, now.mono);
                Ok(())
            }
        }
    }

    /// The input met a damaged row: it goes no further, and somebody is told.
    fn refuse(&mut self, input: &Input, damage: &str, now: Tick) -> Result<(), StoreError> {
        let desk = &mut self.desk;
        desk.alert("store_row_damaged", true, damage);
        match input {
            Input::Entry(Entry { position, record: Ok(record) }) => {
                intake::dead_letter_record(desk, *position, record, damage, now.wall)?;
                desk.note_position(*position);
            }
            Input::Command(token, _) => {
                let answer = Answer::Failed(damage.to_owned());
                desk.say(Output::Answer { token: *token, answer });
            }
            Input::LinkFrame(link, Frame::ClientMessage { session, .. })
            | Input::History(HistoryAsked { link, wish: Wish::Page(session, _), .. }, _) => {
                clients::refuse_for_damage(desk, *link, *session);
            }
            Input::LinkFrame(link, Frame::Redeem { request, .. }) => {
                desk.send(*link, Frame::Redeemed { request: *request, user: None });
            }
            Input::Due(key) => timers::refuse(desk, key, damage, now)?,
            // It begins anew when it is asked for, or at the next start.
            Input::Erase => {
                if let Some(token) = self.erasure.take().and_then(|work| work.token()) {
                    let answer = Answer::Failed(damage.to_owned());
                    desk.say(Output::Answer { token, answer });
                }
            }
            // Nothing of it is removed any more.
            Input::Aged(key) => desk.turn.delete(Space::Ages, key.clone()),
            _ => {}
        }
        Ok(())
    }
}

fn take_over<S: Store>(desk: &mut Desk<S>, presence: &mut Presence, ownership: &Ownership, now: Mono) {
    let Ownership { epoch, generation, count, partitions } = ownership;
    let config = &mut desk.config;
    (config.epoch, config.generation, config.partitions) = (*epoch, *generation, (*count).max(1));
    config.owned.clone_from(partitions);
    presence.take_over(config.partitions, partitions.iter().copied().collect(), now);
    for link in presence.links() {
        let owns = clients::owns(desk);
        desk.send(link, owns);
    }
}
