//! The post office: each call's letters, to the lanes of the accounts that carry them, and the answers back to the owner.
//!
//! Owns a lane and a worker for each account. A lane that has no room, or is shut, says so at once: nobody waits here for a
//! slow provider, neither the owner nor another account. Decides nothing about retries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ops::clock::Clock;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::sleep;
use wire::time::{Mono, Wall};

use super::caps::{self, Capped, Caps};
use super::carriers::Carriers;
use super::health::{self, Health};
use super::lane::{Back, Budget, FULL_MIN, Lane};
use super::letter::{Address, Answer, Carrier, Class, Letter, Refusal};
use super::policy;
use super::stationery::Stationery;
use super::way::{Way, Ways};
use crate::breaker::{self, Change, Rules};
use crate::metrics::Metrics;
use crate::node::board::Watch;
use crate::node::inputs::Input;
use crate::owner::{Answered, DeliveryKey, Done, Held, Outcome, ProviderCall, Said};
use crate::record::Channel;
use crate::templates::{Failure, Templates};
use crate::tenure::{Begun, Tenure};

/// How long a worker sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// One account, and what it may be asked.
#[derive(Clone)]
pub struct Account {
    pub way: Way,
    pub carrier: Arc<dyn Carrier>,
    pub budget: Budget,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.way.name(), self.carrier.name())
    }
}

/// A call under way: its letters' answers, until all are there.
#[derive(Debug)]
struct Open {
    call: ProviderCall,
    answered: Mutex<Vec<Answered>>,
}

/// One letter of it.
#[derive(Debug, Clone)]
struct Item {
    open: Arc<Open>,
    to: Address,
}

struct Post {
    way: Way,
    /// A reload of the settings brings another one.
    carrier: RwLock<Arc<dyn Carrier>>,
    lane: Mutex<Lane<Item>>,
    /// Has the worker look at the lane again.
    wake: mpsc::Sender<()>,
    health: Mutex<Health>,
}

/// How an account does: `providers` in `/v1/status`.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    pub provider: &'static str,
    pub way: &'static str,
    pub state: health::State,
    pub breaker: breaker::State,
    /// Since when the breaker is closed again, or since when it is not. `None`: it never opened.
    pub breaker_since: Option<Wall>,
    pub waiting: usize,
    /// How long the oldest of them has waited.
    pub oldest_waiting_s: Option<u64>,
    pub under_way: usize,
    pub budget: Budget,
    pub last_taken_at: Option<Wall>,
    pub last_error: Option<health::Error>,
    /// The noes of the last minutes, by whose fault they are.
    pub errors_lately: BTreeMap<&'static str, u32>,
    /// How often it said "too fast" since the start.
    pub throttled: u64,
    pub answers: BTreeMap<&'static str, u64>,
}

/// A way that no account carries.
#[derive(Debug, Clone, Serialize)]
pub struct Absent {
    /// `outbox`, if its channel is kept there; else `none`: another account has the channel, or nobody, and letters by this way go nowhere.
    pub provider: &'static str,
    pub way: &'static str,
    pub state: &'static str,
}

/// Every account's lane.
pub struct Dispatch {
    posts: [Option<Arc<Post>>; Way::ALL.len()],
    caps: Arc<Mutex<Caps>>,
    stationery: Arc<Stationery>,
    /// Channels that the outbox does not keep.
    dropped: Vec<Channel>,
    clock: Clock,
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let posts = self.posts.iter().flatten();
        f.debug_list().entries(posts.map(|post| post.carrier().name())).finish()
    }
}

impl Dispatch {
    /// Starts a worker for each account on the current runtime.
    pub fn start(
        accounts: Vec<Account>,
        rules: Rules,
        inputs: &mpsc::Sender<Input>,
        (clock, watch, tenure): (Clock, &Watch, &Tenure),
        metrics: &Arc<Metrics>,
        stationery: Stationery,
    ) -> Dispatch {
        let mut posts = [const { None }; Way::ALL.len()];
        let caps = Arc::new(Mutex::new(Caps::default()));
        let stationery = Arc::new(stationery);
        for account in accounts {
            let (wake, woken) = mpsc::channel(1);
            let lane = Mutex::new(Lane::new(account.budget, rules));
            let way = account.way;
            watch.add_provider(way);
            let carrier = RwLock::new(account.carrier);
            let post = Arc::new(Post { way, carrier, lane, wake, health: Mutex::default() });
            posts[way as usize] = Some(Arc::clone(&post));
            let metrics = Arc::clone(metrics);
            let (inputs, caps, watch) = (inputs.clone(), Arc::clone(&caps), watch.clone());
            let (stationery, tenure) = (Arc::clone(&stationery), tenure.clone());
            let worker = Worker { post, inputs, caps, stationery, clock, watch, tenure, metrics };
            tokio::spawn(worker.clone().clear());
            tokio::spawn(worker.run(woken));
        }
        Dispatch { posts, caps, stationery, dropped: Vec::new(), clock }
    }

    /// The outbox does not keep what is for these channels.
    #[must_use]
    pub fn dropping(self, channels: &[Channel]) -> Dispatch {
        Dispatch { dropped: channels.to_vec(), ..self }
    }

    pub fn ways(&self) -> Ways {
        Ways::of(self.posts.iter().flatten().map(|post| post.way)).dropping(&self.dropped)
    }

    /// Other keys, addresses, senders and budgets from here on, of accounts that there were. What is under way ends as it began; what
    /// waits, and what is known of each account, stays.
    pub fn change(&self, accounts: Vec<Account>) {
        for account in accounts {
            if let Some(post) = &self.posts[account.way as usize] {
                *post.carrier.write().unwrap_or_else(PoisonError::into_inner) = account.carrier;
                post.lane().allow(account.budget);
            }
        }
    }

    /// Other words from here on, also for what waits.
    pub fn word(&self, templates: Option<Arc<Templates>>) {
        self.stationery.change(templates);
    }

    /// How much phone numbers may get from here on.
    pub fn cap(&self, rules: caps::Rules) {
        self.caps.lock().unwrap_or_else(PoisonError::into_inner).change(rules);
    }

    /// Never waits. Calls that need nobody's answer come back at once: this one, or a less urgent one that made room.
    pub fn take(&self, call: ProviderCall) -> Vec<Done> {
        let (now, priority) = (self.clock.mono(), call.priority);
        let (channel, addresses) = (call.delivery.channel, call.addresses.clone());
        let answered = Mutex::new(Vec::with_capacity(addresses.len()));
        let open = Arc::new(Open { call, answered });
        let mut done = Vec::new();
        for to in addresses {
            let way = Way::to(&to, channel);
            let item = Item { open: Arc::clone(&open), to };
            let back = match &self.posts[way as usize] {
                Some(post) => {
                    let back = post.lane().handle_item(item, priority, now);
                    // It is woken already, or this wakes it.
                    let _woken = post.wake.try_send(());
                    back
                }
                None => Some(Back { item, after: IDLE, why: Held::Broken }),
            };
            done.extend(back.and_then(|back| back.item.answered(held(&back))));
        }
        done
    }

    /// Takes back all that was not sent yet to a user who was erased. The calls that were nothing but that.
    pub fn recall(&self, user: &str) -> Vec<Done> {
        self.take_back(|call| call.delivery.user == user)
    }

    /// Takes back what was not sent yet of this call. Its outcome, if that was all of it.
    pub fn withdraw(&self, delivery: &DeliveryKey) -> Vec<Done> {
        self.take_back(|call| call.delivery == *delivery)
    }

    fn take_back(&self, is_wanted: impl Fn(&ProviderCall) -> bool) -> Vec<Done> {
        let taken = |post: &Arc<Post>| post.lane().take_back(|item| is_wanted(&item.open.call));
        let taken: Vec<Item> = self.posts.iter().flatten().flat_map(taken).collect();
        taken.iter().filter_map(|item| item.answered(Said::Withdrawn)).collect()
    }

    pub fn shown(&self) -> Vec<Shown> {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        self.posts.iter().flatten().map(|post| post.shown(now, wall)).collect()
    }

    /// The ways that no account carries.
    pub fn absent(&self) -> Vec<Absent> {
        let ways = self.ways();
        let absent = |way: Way| Absent {
            provider: if ways.carry(way.channel()) || ways.drop(way.channel()) { "none" } else { "outbox" },
            way: way.name(),
            state: "not_configured",
        };
        Way::ALL.into_iter().filter(|way| !ways.has(*way)).map(absent).collect()
    }
}

fn held(back: &Back<Item>) -> Said {
    Said::Held { after: back.after, why: back.why }
}

impl Item {
    /// The outcome of its call, if this was the last letter of it.
    fn answered(&self, said: Said) -> Option<Done> {
        let Open { call, answered } = &*self.open;
        let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.push(Answered { to: self.to.clone(), said });
        let is_done = answered.len() == call.addresses.len();
        is_done.then(|| Done {
            delivery: call.delivery.clone(),
            claim: call.claim,
            outcome: Outcome::Letters(std::mem::take(&mut *answered)),
        })
    }

    /// Other letters of its call may be out.
    fn has_siblings(&self) -> bool {
        self.open.call.addresses.len() > 1
    }

    fn is_over(&self, now: Mono) -> bool {
        self.open.call.ends_at.is_some_and(|end| end <= now)
    }

    fn letter(&self, now: Mono) -> Letter {
        let call = &self.open.call;
        Letter {
            delivery: call.delivery.clone(),
            to: self.to.clone(),
            priority: call.priority,
            category: call.category.clone(),
            title: call.title.clone(),
            body: call.body.clone(),
            data: call.data.clone(),
            collapse_key: call.collapse_key.clone(),
            ttl: call.ends_at.map(|end| end.since(now)),
            html: None,
            digest: call.digest.clone(),
            unsubscribe: None,
        }
    }
}

impl Post {
    fn lane(&self) -> MutexGuard<'_, Lane<Item>> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carrier(&self) -> Arc<dyn Carrier> {
        Arc::clone(&self.carrier.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, now: Mono, wall: Wall) -> Shown {
        let (lane, health) = (self.lane(), self.health());
        let breaker = lane.breaker();
        let before = |at: Mono| Wall(wall.0.saturating_sub(now.since(at).as_micros() as i64));
        Shown {
            provider: self.carrier().name(),
            way: self.way.name(),
            state: health.state(breaker.state(), now),
            breaker: breaker.state(),
            breaker_since: breaker.since().map(before),
            waiting: lane.waiting(),
            oldest_waiting_s: lane.oldest(now).map(|age| age.as_secs()),
            under_way: lane.under_way(),
            budget: lane.budget(),
            last_taken_at: health.last_taken_at(),
            last_error: health.last_error().cloned(),
            errors_lately: health.errors(now),
            throttled: health.throttled(),
            answers: health.answers(),
        }
    }
}

/// One account's worker.
#[derive(Clone)]
struct Worker {
    post: Arc<Post>,
    inputs: mpsc::Sender<Input>,
    caps: Arc<Mutex<Caps>>,
    stationery: Arc<Stationery>,
    clock: Clock,
    watch: Watch,
    tenure: Tenure,
    metrics: Arc<Metrics>,
}

impl Worker {
    async fn run(self, mut woken: mpsc::Receiver<()>) {
        loop {
            let now = self.clock.mono();
            let (next, due) = {
                let mut lane = self.post.lane();
                (lane.poll_send(now), lane.poll_timeout())
            };
            if let Some((item, is_probe)) = next {
                let worker = self.clone();
                tokio::spawn(async move { worker.send(item, is_probe).await });
                continue;
            }
            let rest = due.map_or(IDLE, |due| due.since(now).max(Duration::from_millis(1)));
            tokio::select! {
                _ = woken.recv() => {}
                () = sleep(rest) => {}
            }
        }
    }

    /// Has what waits make way. What is for partitions that passed to another router is the other's to send. And before partitions
    /// go, or the router does, letters whose siblings may be out are given back, so that their calls are answered.
    async fn clear(self) {
        let mut news = self.tenure.news();
        while news.changed().await.is_ok() {
            let is_paused = self.tenure.is_paused();
            let taken = {
                let over = self.tenure.over();
                let goes = |item: &Item| over(item.open.call.claim) || (is_paused && item.has_siblings());
                self.post.lane().take_back(goes)
            };
            for item in taken.iter().filter(|item| !self.tenure.is_over(item.open.call.claim)) {
                self.done(item.answered(Said::Held { after: FULL_MIN, why: Held::Full })).await;
            }
        }
    }

    async fn send(self, item: Item, is_probe: bool) {
        // What a provider said of one letter is heard when all of its call have an answer.
        let is_wanted =
            |is_paused: bool| !(item.is_over(self.clock.mono()) || is_paused && item.has_siblings());
        match self.tenure.begin(item.open.call.claim, is_wanted).await {
            Begun::Yes => {}
            // Whoever owns the partition now has the row, and makes the call.
            Begun::Elsewhere => return self.skip(is_probe),
            Begun::Over => {
                // If its life is over, the owner sees that, too.
                let said = Said::Held { after: FULL_MIN, why: Held::Full };
                return self.pass(item, is_probe, said).await;
            }
        }
        if let Some(refusal) = self.capped(&item.to) {
            return self.pass(item, is_probe, Said::Answer(Answer::Refused(refusal))).await;
        }
        let letter = item.letter(self.clock.mono());
        let (letter, failures) = self.stationery.dress(letter, item.open.call.begins_at);
        for failure in &failures {
            self.plain(failure);
        }
        let answer = self.post.carrier().send(&letter).await;
        let now = self.clock.mono();
        self.post.health().handle_answer(&answer, now, self.clock.wall());
        let (change, back) = {
            let mut lane = self.post.lane();
            let change = lane.handle_answer(policy::is_error(&answer), is_probe, now);
            (change, std::iter::from_fn(|| lane.poll_back(now)).collect::<Vec<_>>())
        };
        self.tell(&answer, change);
        let _woken = self.post.wake.try_send(());
        let call = &item.open.call;
        self.metrics.delivered(call.delivery.channel, call.begins_at, self.clock.wall());
        self.done(item.answered(Said::Answer(answer))).await;
        for back in back {
            self.done(back.item.answered(held(&back))).await;
        }
    }

    /// Part of a letter goes out in its plain words. Each template says so once.
    fn plain(&self, failure: &Failure) {
        self.metrics.template_failures.inc();
        if failure.is_first {
            tracing::warn!("{failure}; letters keep their plain words there");
        }
    }

    /// Why nothing more goes to this phone in this hour.
    fn capped(&self, to: &Address) -> Option<Refusal> {
        let Address::Phone(number) = to else { return None };
        let capped = {
            let mut caps = self.caps.lock().unwrap_or_else(PoisonError::into_inner);
            caps.admit(number, self.clock.mono()).err()?
        };
        let detail = match capped {
            Capped::Number => format!("{} got as many in an hour as one number may", to.masked()),
            Capped::Prefix(prefix) => {
                format!("numbers that begin with {prefix} got as many in an hour as they may")
            }
        };
        self.watch.alert("sms_capped", false, &detail);
        Some(Refusal { class: Class::Recipient, code: "capped".to_owned(), detail, retry_after: None })
    }

    /// Nobody was asked.
    async fn pass(&self, item: Item, is_probe: bool, said: Said) {
        self.skip(is_probe);
        self.done(item.answered(said)).await;
    }

    /// The next one's turn.
    fn skip(&self, is_probe: bool) {
        self.post.lane().handle_skip(is_probe, self.clock.mono());
        let _woken = self.post.wake.try_send(());
    }

    async fn done(&self, done: Option<Done>) {
        if let Some(done) = done {
            // With the owner gone the answer is lost: it asks again after a restart, under the same delivery.
            let _the_owner_is_gone = self.inputs.send(Input::Outcome(done)).await;
        }
    }

    fn tell(&self, answer: &Answer, change: Option<Change>) {
        let (way, carrier) = (self.post.way, self.post.carrier());
        match change {
            Some(Change::Opened) => {
                let why = format!("{} failed too often, at last with {}", carrier.name(), words(answer));
                self.watch.provider_broken(way, Some(&why));
            }
            Some(Change::Closed) => self.watch.provider_broken(way, None),
            None => {}
        }
        match answer {
            Answer::Refused(refusal) if policy::policy(refusal.class).wakes => {
                let why = format!("{} refuses our account: {}", carrier.name(), words(answer));
                self.watch.provider_refuses(way, Some(&why));
            }
            Answer::Taken { .. } => self.watch.provider_refuses(way, None),
            _ => {}
        }
    }
}

/// Without anybody's address: a carrier puts none into these.
fn words(answer: &Answer) -> String {
    match answer {
        Answer::Taken { .. } => String::new(),
        Answer::Refused(refusal) => format!("{} {}", refusal.code, refusal.detail).trim_end().to_owned(),
        Answer::Unknown { why } => why.clone(),
    }
}

/// An account for each carrier that the settings name.
pub fn accounts(carriers: &Carriers, budgets: &BTreeMap<Way, Budget>) -> Vec<Account> {
    let account = |(way, carrier): (Way, &Arc<dyn Carrier>)| Account {
        way,
        carrier: Arc::clone(carrier),
        budget: budgets.get(&way).copied().unwrap_or_else(|| Budget::usual(way)),
    };
    carriers.all().map(account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenure::{Claim, Term};
    use async_trait::async_trait;
    use uuid::Uuid;
    use wire::message::Priority;

    /// Takes everything, under a name of its own.
    struct Named(&'static str);

    #[async_trait]
    impl Carrier for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        async fn send(&self, _letter: &Letter) -> Answer {
            Answer::Taken { reference: Some(self.0.to_owned()) }
        }
    }

    fn account(name: &'static str) -> Account {
        Account { way: Way::Sms, carrier: Arc::new(Named(name)), budget: Budget::usual(Way::Sms) }
    }

    struct Started {
        dispatch: Dispatch,
        answers: mpsc::Receiver<Input>,
        clock: Clock,
        watch: Watch,
    }

    /// One account for SMS. Called inside a runtime.
    fn started(name: &'static str) -> Started {
        started_by(name, |_| Tenure::alone()).0
    }

    fn started_by(name: &'static str, tenure: impl FnOnce(Clock) -> Tenure) -> (Started, Tenure) {
        let (clock, metrics) = (Clock::start(), Arc::new(Metrics::new(std::iter::empty())));
        let (inputs, answers) = mpsc::channel(8);
        let rules = Rules { errors: 5, window: IDLE, probe: IDLE };
        let watch = Watch::new(clock);
        let (accounts, plain) = (vec![account(name)], Stationery::default());
        let tenure = tenure(clock);
        let by = (clock, &watch, &tenure);
        let dispatch = Dispatch::start(accounts, rules, &inputs, by, &metrics, plain);
        (Started { dispatch, answers, clock, watch }, tenure)
    }

    fn call(to: &[Address]) -> ProviderCall {
        ProviderCall {
            delivery: DeliveryKey { id: Uuid::nil(), channel: Channel::Sms, user: "ann".to_owned() },
            addresses: to.to_vec(),
            service: "svc".to_owned(),
            priority: Priority::Normal,
            category: None,
            title: Some("t".to_owned()),
            body: None,
            data: None,
            collapse_key: None,
            begins_at: Wall(0),
            expires_at: None,
            ends_at: None,
            attempt: 1,
            again: false,
            digest: None,
            claim: None,
        }
    }

    async fn said(inputs: &mut mpsc::Receiver<Input>) -> Vec<Said> {
        let said = tokio::time::timeout(Duration::from_secs(10), inputs.recv()).await;
        match said.expect("in time").expect("an answer") {
            Input::Outcome(Done { outcome: Outcome::Letters(letters), .. }) => {
                letters.into_iter().map(|one| one.said).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn taken(by: &str) -> Said {
        Said::Answer(Answer::Taken { reference: Some(by.to_owned()) })
    }

    #[test]
    fn what_is_over_on_the_clock_that_nobody_sets_is_not_sent_and_does_not_come_back_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let Started { dispatch, mut answers, clock, .. } = started("one");
            let phone = [Address::Phone("+4930123456".to_owned())];
            // Its date is long past: somebody set the clock.
            let call_until =
                |ends_at| ProviderCall { ends_at: Some(ends_at), expires_at: Some(Wall(1)), ..call(&phone) };
            assert!(dispatch.take(call_until(clock.mono() + IDLE)).is_empty());
            assert_eq!(said(&mut answers).await, [taken("one")]);
            assert!(dispatch.take(call_until(Mono::ZERO)).is_empty());
            assert_eq!(said(&mut answers).await, [Said::Held { after: FULL_MIN, why: Held::Full }]);
        });
    }

    #[test]
    fn one_of_several_sends_on_a_proof_and_nothing_of_what_passed_to_another() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let several = |clock| Tenure::of_one_of_several(4, clock);
            let (Started { dispatch, mut answers, clock, .. }, tenure) = started_by("one", several);
            let hold = |number| tenure.hold([(1, Term { number, is_active: true })].into());
            let phones = [Address::Phone("+4930123456".to_owned()), Address::Phone("+4930123457".to_owned())];
            let of_term =
                |term, to: &[Address]| ProviderCall { claim: Some(Claim { partition: 1, term }), ..call(to) };
            hold(1);
            assert!(dispatch.take(of_term(1, &phones[..1])).is_empty());
            let nothing = tokio::time::timeout(Duration::from_millis(50), answers.recv()).await;
            assert!(nothing.is_err(), "the brokers have confirmed nothing: {nothing:?}");
            tenure.prove(clock.mono());
            assert_eq!(said(&mut answers).await, [taken("one")]);
            tenure.answered(Some(Claim { partition: 1, term: 1 }), 1);
            hold(2);
            assert!(dispatch.take(of_term(1, &phones[..1])).is_empty());
            assert!(dispatch.take(of_term(2, &phones[1..])).is_empty());
            assert_eq!(said(&mut answers).await, [taken("one")], "of the later term alone");
            let nothing = tokio::time::timeout(Duration::from_millis(50), answers.recv()).await;
            assert!(nothing.is_err(), "the heir has the other: {nothing:?}");
            assert_eq!(dispatch.shown()[0].under_way, 0, "and it is in nobody's way");
        });
    }

    #[test]
    fn before_the_end_letters_with_siblings_come_back_and_others_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let (Started { dispatch, mut answers, .. }, tenure) = started_by("one", |_| Tenure::alone());
            tenure.end();
            let phones = [Address::Phone("+4930123456".to_owned()), Address::Phone("+4930123457".to_owned())];
            assert!(dispatch.take(call(&phones[..1])).is_empty());
            assert!(dispatch.take(call(&phones)).is_empty());
            let back = Said::Held { after: FULL_MIN, why: Held::Full };
            assert_eq!(said(&mut answers).await, [back.clone(), back]);
            let nothing = tokio::time::timeout(Duration::from_millis(50), answers.recv()).await;
            assert!(nothing.is_err() && tenure.out() == 0, "one alone waits for the next start: {nothing:?}");
        });
    }

    #[test]
    fn what_passes_a_cap_is_not_sent_and_somebody_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let Started { dispatch, mut answers, watch, .. } = started("one");
            dispatch.cap(caps::Rules { per_number: Some(1), ..caps::Rules::default() });
            let phone = [Address::Phone("+4930123456".to_owned())];
            assert!(dispatch.take(call(&phone)).is_empty());
            assert_eq!(said(&mut answers).await, [taken("one")]);
            assert!(dispatch.take(call(&phone)).is_empty());
            let second = said(&mut answers).await;
            let is_capped = |said: &Said| match said {
                Said::Answer(Answer::Refused(refusal)) => refusal.code == "capped",
                _ => false,
            };
            assert!(second.iter().all(is_capped), "{second:?}");
            let told: Vec<String> =
                watch.lock().alerts.standing().map(|alert| alert.detail.clone()).collect();
            assert!(told.len() == 1 && !told[0].contains("30123"), "{told:?}");
        });
    }

    #[test]
    fn what_a_reload_brings_carries_from_then_on_and_a_way_without_an_account_says_so_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let Started { dispatch, mut answers, .. } = started("old");
            let phone = Address::Phone("+4930123456".to_owned());
            assert!(dispatch.take(call(std::slice::from_ref(&phone))).is_empty());
            assert_eq!(said(&mut answers).await, [taken("old")]);
            let budget = Budget { per_s: 7, at_once: 3 };
            dispatch.change(vec![Account { budget, ..account("new") }]);
            let two = [phone, Address::Email("ann@example.org".to_owned())];
            assert!(dispatch.take(call(&two)).is_empty(), "one of two is not asked, and the other is");
            let both = said(&mut answers).await;
            assert!(both.contains(&taken("new")), "{both:?}");
            assert!(both.iter().any(|said| matches!(said, Said::Held { why: Held::Broken, .. })), "{both:?}");
            let shown = dispatch.shown();
            assert_eq!((shown[0].provider, shown[0].answers["taken"]), ("new", 2), "counts go on");
            assert_eq!((shown[0].budget.per_s, shown[0].budget.at_once), (7, 3));
            assert_eq!(
                (shown[0].state, shown[0].breaker_since, shown[0].under_way),
                (health::State::Ok, None, 0)
            );
            let absent: Vec<_> =
                dispatch.absent().into_iter().map(|absent| (absent.way, absent.provider)).collect();
            let ways = ["fcm", "apns", "webpush", "email", "voice"];
            assert_eq!(absent, ways.map(|way| (way, "outbox")));
            let absent = dispatch.dropping(&[Channel::Email, Channel::Sms]).absent();
            let nowhere: Vec<_> =
                absent.iter().filter(|one| one.provider == "none").map(|one| one.way).collect();
            assert_eq!(nowhere, ["email"]);
        });
    }
}
