//! The owner's thread: takes what the porches hand in, lets the owner decide, commits, and carries its outputs out.
//!
//! Nothing that the owner wants done is done before its batch is committed. While the store does not take a batch
//! everything waits: the journal keeps what comes in, links and workers are slowed by their bounded queues. A full
//! provider queue stops the reading of the journal, never the links.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ops::clock::Clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use wire::link::{DeliveryResult, Frame};
use wire::message::Priority;

use super::board::Watch;
use super::decider::{CommitError, Decider};
use super::inputs::Input;
use super::reader::Taken;
use crate::ingest::recent::Recent;
use crate::journal::{Entry, Positions};
use crate::limits::{
    COMMIT_RETRY, ENTRIES_QUEUE_MAX, LEAVES_WITHIN, PROVIDER_CALLS_WAITING_MAX, READ_ENTRIES_MAX,
    TURN_DELIVERIES_MAX, TURN_INPUTS_MAX,
};
use crate::links::{FRAMES_PER_INPUT_MAX, Outbound};
use crate::metrics::Metrics;
use crate::owner::{
    Answer, DeliveryKey, Done, HistoryAsked, LinkId, Now, Outcome, Output, ProviderCall, Wish,
};
use crate::projection::history::Asker;
use crate::provider::Queues;
use crate::provider::dispatch::Dispatch;
use crate::record::{Channel, Target};
use crate::tenure::Tenure;

/// Inputs that one wait brings, each of them as heavy as can be; the turn takes more while it has room.
const INPUTS_PER_WAIT_MAX: usize = TURN_INPUTS_MAX / FRAMES_PER_INPUT_MAX;
/// The alert of one of several routers whose decisions cannot be written to Kafka: everything waits.
const LEDGER_UNWRITABLE: &str = "ledger_unwritable";
/// Entries that were read ahead of a pause: what the queue held, what its reader had in hand, and the turn's own.
const ENTRIES_PUT_BY_MAX: usize = (ENTRIES_QUEUE_MAX + 3) * READ_ENTRIES_MAX;
/// Behind a pause one entry of so many is whatever comes first.
const OTHERS_EVERY: u64 = 16;
/// How long the thread sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

pub struct Run<D> {
    pub owner: D,
    /// What was promised lately; what retention removes is promised no more.
    pub recent: Arc<Recent>,
    pub entries: mpsc::Receiver<Taken>,
    /// Told to the journal's reader while far too much comes: critical entries alone are taken then.
    pub critical_only: watch::Sender<bool>,
    pub inputs: mpsc::Receiver<Input>,
    /// What is final or open in the store; `persist` forces it to the disk and tells the journal.
    pub committed: watch::Sender<Positions>,
    /// The newest commit whose changes wait for Cassandra.
    pub queued: watch::Sender<u64>,
    /// Who asks Cassandra for what this store does not have.
    pub history: Option<Asker>,
    pub providers: Queues,
    pub dispatch: Arc<Dispatch>,
    /// Counts the calls that are out.
    pub tenure: Tenure,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub watch: Watch,
}

/// What the loop remembers between turns.
struct State<D> {
    run: Run<D>,
    links: HashMap<LinkId, Arc<Outbound>>,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    next_token: u64,
    /// Read, and not yet handled: one turn takes no more than a bounded number of deliveries. With the assignment of each.
    backlog: VecDeque<(u64, Entry)>,
    /// A pause had entries put by, and they are not all handled: the journal's reader stays narrowed, or it would bring more.
    is_put_by: bool,
    /// Counts the entries.
    taken: u64,
    /// Calls that their channel's queue has no room for yet.
    waiting: VecDeque<ProviderCall>,
    /// Deliveries that a full link gave back: the owner hears of them in the next turn.
    slow: Vec<(LinkId, Frame)>,
    /// Pages that nobody can be asked for now: their clients are told in the next turn.
    unanswered: Vec<HistoryAsked>,
    /// Calls that no provider was asked for: the owner hears of them in the next turn.
    not_asked: Vec<Done>,
    /// Links that were handed frames in this turn.
    touched: HashSet<LinkId>,
    positions: Positions,
}

/// What a wait ended with.
enum Woken {
    Entries(Option<Taken>),
    Inputs,
    Room,
    Time,
}

impl Run<()> {
    /// With somebody who decides.
    pub fn of<D: Decider>(self, owner: D) -> Run<D> {
        Run {
            owner,
            recent: self.recent,
            entries: self.entries,
            critical_only: self.critical_only,
            inputs: self.inputs,
            committed: self.committed,
            queued: self.queued,
            history: self.history,
            providers: self.providers,
            dispatch: self.dispatch,
            tenure: self.tenure,
            clock: self.clock,
            metrics: self.metrics,
            watch: self.watch,
        }
    }
}

impl<D: Decider> Run<D> {
    /// Ends when the journal's reader is gone, everything it handed over is handled and on the disk, and providers have
    /// answered, if they do in time.
    pub async fn run(self) {
        let state = State {
            run: self,
            links: HashMap::new(),
            answers: HashMap::new(),
            next_token: 0,
            backlog: VecDeque::new(),
            is_put_by: false,
            taken: 0,
            waiting: VecDeque::new(),
            slow: Vec::new(),
            unanswered: Vec::new(),
            not_asked: Vec::new(),
            touched: HashSet::new(),
            positions: Positions::new(),
        };
        state.turns().await;
    }
}

impl<D: Decider> State<D> {
    async fn turns(mut self) {
        let mut inputs = Vec::with_capacity(TURN_INPUTS_MAX);
        loop {
            let woken = self.wait(&mut inputs).await;
            if self.turn(woken, &mut inputs).await {
                break;
            }
        }
        self.hear_providers(inputs).await;
    }

    /// True when nothing more comes from the journal.
    async fn turn(&mut self, woken: Woken, inputs: &mut Vec<Input>) -> bool {
        let began = self.run.clock.mono();
        let ended = self.handle(woken, inputs);
        self.commit().await;
        self.run.metrics.turns.inc();
        self.carry_out();
        self.run.metrics.retention.owner(self.run.owner.kept());
        self.run.metrics.turn_seconds.observe(self.run.clock.mono().since(began));
        ended
    }

    /// What providers were asked and have not answered is asked again after the next start, or by an heir: their answers are
    /// worth a moment.
    async fn hear_providers(&mut self, mut inputs: Vec<Input>) {
        let until = self.run.clock.mono() + LEAVES_WITHIN;
        while self.run.tenure.out() > 0 {
            let left = until.since(self.run.clock.mono());
            let came = timeout(left, self.run.inputs.recv_many(&mut inputs, INPUTS_PER_WAIT_MAX)).await;
            if !came.is_ok_and(|count| count > 0) {
                tracing::warn!(calls = self.run.tenure.out(), "providers did not answer before the end");
                return;
            }
            self.turn(Woken::Inputs, &mut inputs).await;
            if left.is_zero() {
                return;
            }
        }
    }

    async fn wait(&mut self, inputs: &mut Vec<Input>) -> Woken {
        let now = self.run.clock.mono();
        let due = self.run.owner.poll_timeout().map_or(IDLE, |due| due.since(now));
        let paused = self.run.owner.reading_pause(self.now());
        self.is_put_by = paused.is_some() || (self.is_put_by && !self.backlog.is_empty());
        self.narrow(self.is_put_by);
        let fetches = self.fetches();
        let wake = due.min(paused.unwrap_or(IDLE));
        let is_owed = !self.slow.is_empty() || !self.unanswered.is_empty() || !self.not_asked.is_empty();
        if is_owed || self.next_entry().is_some() {
            return Woken::Time;
        }
        let blocked = self.waiting.front().map(|call| call.delivery.channel);
        let run = &mut self.run;
        // With everybody gone who could say anything, only the end of the journal is left to hear.
        let is_silent = run.inputs.is_closed() && run.inputs.is_empty();
        tokio::select! {
            biased;
            _ = run.inputs.recv_many(inputs, INPUTS_PER_WAIT_MAX), if !is_silent => Woken::Inputs,
            batch = run.entries.recv(), if fetches => Woken::Entries(batch),
            () = room(&run.providers, blocked), if blocked.is_some() => Woken::Room,
            () = sleep(wake) => Woken::Time,
        }
    }

    /// True when this was the last turn.
    fn handle(&mut self, woken: Woken, inputs: &mut Vec<Input>) -> bool {
        let mut ended = false;
        match woken {
            Woken::Entries(Some(taken)) => self.backlog.extend(taken.entries()),
            Woken::Entries(None) => ended = true,
            // A busy link never keeps the journal waiting: both come in every turn.
            Woken::Inputs | Woken::Room | Woken::Time => {
                if self.fetches() {
                    self.backlog.extend(self.run.entries.try_recv().into_iter().flat_map(Taken::entries));
                }
            }
        }
        let mut weight: usize = inputs.iter().map(Input::weight).sum();
        while weight < TURN_INPUTS_MAX
            && let Ok(input) = self.run.inputs.try_recv()
        {
            weight += input.weight();
            inputs.push(input);
        }
        let now = self.now();
        for (link, frame) in std::mem::take(&mut self.slow) {
            self.run.owner.handle_link_frame(link, frame, now);
        }
        for asked in std::mem::take(&mut self.unanswered) {
            self.run.owner.handle_history(asked, Err("too many wait".to_owned()), now);
        }
        for Done { delivery, claim, outcome } in std::mem::take(&mut self.not_asked) {
            if !self.run.tenure.is_over(claim) {
                self.run.owner.handle_outcome(delivery, outcome, now);
            }
        }
        for input in inputs.drain(..) {
            self.take(input, now);
        }
        self.take_entries(now);
        if self.run.owner.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.run.owner.handle_timeout(now);
        }
        ended
    }

    fn has_room(&self) -> bool {
        // At the end nobody makes room any more.
        self.waiting.len() < PROVIDER_CALLS_WAITING_MAX || self.run.tenure.has_ended()
    }

    fn is_paused(&self) -> bool {
        self.run.owner.reading_pause(self.now()).is_some()
    }

    fn narrow(&self, critical_only: bool) {
        self.run
            .critical_only
            .send_if_modified(|before| std::mem::replace(before, critical_only) != critical_only);
    }

    /// Whether the journal may be read on. In a pause what was read ahead is put by, and its reader has been narrowed.
    fn fetches(&self) -> bool {
        let bound = if self.is_put_by || self.is_paused() { ENTRIES_PUT_BY_MAX } else { 1 };
        // That the journal has ended is heard when all of it is handled.
        let goes_on = !(self.run.entries.is_closed() && self.run.entries.is_empty());
        self.has_room() && self.backlog.len() < bound && (goes_on || self.backlog.is_empty())
    }

    /// Which entry's turn it is: the first, in a pause the first that is critical. Behind a pause critical ones go before what was
    /// put by, but for every so many.
    fn next_entry(&self) -> Option<usize> {
        if !self.has_room() {
            return None;
        }
        let is_critical = |(_, entry): &(u64, Entry)| entry.position.priority == Priority::Critical;
        let critical = || self.backlog.iter().position(is_critical);
        let first = (!self.backlog.is_empty()).then_some(0);
        if self.is_paused() {
            critical()
        } else if self.is_put_by && !self.taken.is_multiple_of(OTHERS_EVERY) {
            critical().or(first)
        } else {
            first
        }
    }

    fn take(&mut self, input: Input, now: Now) {
        let owner = &mut self.run.owner;
        match input {
            Input::LinkUp { link, node, shard, outbound } => {
                self.links.insert(link, outbound);
                owner.handle_link_up(link, &node, shard, now);
                self.run.watch.gateways(self.links.len());
            }
            Input::LinkFrames { link, frames } => {
                for frame in frames {
                    owner.handle_link_frame(link, frame, now);
                }
            }
            Input::LinkDown { link } => {
                self.links.remove(&link);
                owner.handle_link_down(link, now);
                self.run.watch.gateways(self.links.len());
            }
            Input::Bypass(record) => owner.handle_bypass(*record, now),
            Input::Ownership(ownership) => owner.handle_ownership(ownership, now),
            Input::Limits(limits) => owner.handle_limits(&limits),
            Input::Carried(carried) => owner.handle_carried(carried, now),
            Input::History { asked, found } => owner.handle_history(asked, found, now),
            Input::Outcome(Done { delivery, claim, outcome }) => {
                self.run.tenure.answered(claim, outcome.calls());
                // Of an owner that is no more: its heir has made the call again.
                if !self.run.tenure.is_over(claim) {
                    owner.handle_outcome(delivery, outcome, now);
                }
            }
            #[cfg(feature = "kafka")]
            Input::Group(event) => owner.handle_group(event, now),
            Input::Command { command, answer } => {
                self.next_token += 1;
                self.answers.insert(self.next_token, answer);
                owner.handle_command(self.next_token, command, now);
            }
        }
    }

    fn take_entries(&mut self, now: Now) {
        let mut deliveries = 0;
        while deliveries < TURN_DELIVERIES_MAX
            && let Some(next) = self.next_entry()
            && let Some((round, entry)) = self.backlog.remove(next)
        {
            self.taken = self.taken.wrapping_add(1);
            if round == self.run.owner.round() {
                deliveries += weight(&entry);
                self.run.owner.handle_entry(entry, now);
            }
        }
    }

    /// Waits until the store took the batch.
    async fn commit(&mut self) {
        let (mut failed, mut waited) = (false, false);
        while let Err(error) = self.run.owner.commit() {
            match error {
                CommitError::Store(error) => {
                    failed = true;
                    self.run.metrics.store_failures.inc();
                    self.run.watch.store_fails(&error);
                }
                CommitError::Ledger(why) => {
                    waited = true;
                    self.run.watch.alert(LEDGER_UNWRITABLE, true, &why);
                }
            }
            sleep(COMMIT_RETRY).await;
        }
        if failed {
            self.run.watch.store_writes();
        }
        if waited {
            self.run.watch.over(LEDGER_UNWRITABLE);
        }
    }

    fn carry_out(&mut self) {
        let mut moved = false;
        while let Some(output) = self.run.owner.poll_output() {
            match output {
                Output::Link { link, frame } => self.push(link, frame),
                Output::Provide(call) if call.addresses.is_empty() => self.waiting.push_back(call),
                Output::Provide(call) => self.not_asked.extend(self.run.dispatch.take(call)),
                Output::Committed(position) => {
                    let lane = (position.priority, position.partition);
                    self.positions.insert(lane, position.offset);
                    moved = true;
                }
                Output::Answer { token, answer } => {
                    if let Some(asked) = self.answers.remove(&token) {
                        let _nobody_waits_any_more = asked.send(answer);
                    }
                }
                Output::Shown { accepted_at } => {
                    let now = self.run.clock.wall();
                    self.run.metrics.delivered(Channel::Inapp, accepted_at, now);
                }
                Output::Recall { user } => {
                    self.waiting.retain(|call| call.delivery.user != user);
                    self.not_asked.extend(self.run.dispatch.recall(&user));
                }
                Output::Withdraw(delivery) => self.withdraw(&delivery),
                Output::ActElsewhere(acted) => {
                    if let Some(history) = &self.run.history {
                        history.act(acted);
                    }
                }
                Output::CutLinks => {
                    self.links.values().for_each(|outbound| outbound.cut());
                    self.answers.clear();
                }
                Output::History(asked) => self.look_elsewhere(asked),
                Output::Queued { number } => {
                    self.run.queued.send_replace(number);
                }
                Output::Forgotten { id } => self.run.recent.forget(id),
                Output::Alert { name, critical, detail } => self.run.watch.alert(name, critical, &detail),
            }
        }
        for link in self.touched.drain() {
            if let Some(outbound) = self.links.get(&link) {
                outbound.flush();
            }
        }
        if moved {
            self.run.committed.send_replace(self.positions.clone());
        }
        self.provide();
    }

    /// What no provider was handed yet is not sent; the owner hears of it in the next turn.
    fn withdraw(&mut self, delivery: &DeliveryKey) {
        let mut claim = None;
        self.waiting.retain(|call| {
            let is_it = call.delivery == *delivery;
            claim = if is_it { Some(call.claim) } else { claim };
            !is_it
        });
        if let Some(claim) = claim {
            self.not_asked.push(Done { delivery: delivery.clone(), claim, outcome: Outcome::Withdrawn });
        }
        self.not_asked.extend(self.run.dispatch.withdraw(delivery));
    }

    /// Where too many wait already, a client is told to ask again, and the topics of a user who came come with its next
    /// sync.
    fn look_elsewhere(&mut self, asked: HistoryAsked) {
        let refused = match &self.run.history {
            Some(history) => history.ask(asked).err(),
            None => Some(asked),
        };
        if let Some(asked) = refused.filter(|asked| asked.wish != Wish::Topics) {
            self.unanswered.push(asked);
        }
    }

    fn push(&mut self, link: LinkId, frame: Frame) {
        let Some(outbound) = self.links.get(&link) else { return };
        self.touched.insert(link);
        if let Some(Frame::Deliver { tag, id, .. } | Frame::Broadcast { tag, id, .. }) = outbound.push(frame)
        {
            self.run.metrics.link_frames_dropped.inc();
            self.slow.push((link, Frame::Result { tag, id, result: DeliveryResult::Slow }));
        }
    }

    /// Hands calls to the channels' queues. Calls of one channel keep their order; a full one holds up no other.
    fn provide(&mut self) {
        let mut full = [false; Channel::ALL.len()];
        for _ in 0..self.waiting.len() {
            let call = self.waiting.pop_front().expect("the queue is as long as it was");
            let channel = call.delivery.channel as usize;
            if full[channel] {
                self.waiting.push_back(call);
            } else if let Some(call) = self.run.providers.offer(call) {
                full[channel] = true;
                self.waiting.push_back(call);
            }
        }
        self.run.metrics.provider_waiting.set(self.waiting.len() as u64);
    }

    fn now(&self) -> Now {
        Now { mono: self.run.clock.mono(), wall: self.run.clock.wall() }
    }
}

/// How many deliveries an entry may come to.
fn weight(entry: &Entry) -> usize {
    let Ok(record) = &entry.record else { return 1 };
    let recipients = match &record.request.to {
        Target::Users(users) => users.len(),
        _ => 1,
    };
    recipients * record.request.channels.len().max(1)
}

async fn room(providers: &Queues, channel: Option<Channel>) {
    if let Some(channel) = channel {
        providers.room(channel).await;
    }
}
