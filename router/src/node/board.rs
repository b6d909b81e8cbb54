//! Where the porches report how their dependencies do; kept as the status board and the alerts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ops::clock::Clock;

use crate::alerts::{Alerts, Severity};
use crate::journal::Fault;
use crate::limits::JOURNAL_LAG_ALERT;
use crate::outage::book::Look;
use crate::outage::phase::{Outage, Phase};
use crate::projection::queue::Incomplete;
use crate::provider::way::Way;
use crate::status::{Board, State};
use wire::time::Wall;

/// Names on the board.
pub const JOURNAL: &str = "journal";
pub const STORE: &str = "store";
/// With Kafka: the brokers, and the disk that stands in for them.
const KAFKA: &str = "kafka";
const BUFFER: &str = "buffer";
/// Where the critical records of an outage are copied to.
#[cfg(feature = "redis")]
const REDIS: &str = "redis";
/// The alert of a journal that is read too slowly.
const LAG: &str = "journal_lag";
/// The alert of a router that no gateway is linked to any more.
const NO_GATEWAY: &str = "no_gateway";
/// Those of a journal that fails.
const UNREADABLE: &str = "journal_unreadable";
const UNWRITABLE: &str = "journal_unwritable";
const FULL: &str = "journal_full";
const DAMAGED: &str = "journal_damaged";
/// Those of an outage.
const KAFKA_DOWN: &str = "kafka_down";
const MISSING: &str = "buffered_missing";
const BUFFER_UNWRITABLE: &str = "buffer_unwritable";
/// Those of providers' accounts.
const PROVIDER_BROKEN: &str = "provider_broken";
const PROVIDER_REFUSES: &str = "provider_refuses";
/// What Cassandra is called on the board, and its alerts.
const CASSANDRA: &str = "cassandra";
const CASSANDRA_DOWN: &str = "cassandra_down";
const CASSANDRA_UNFIT: &str = "cassandra_unfit";
const PROJECTION_INCOMPLETE: &str = "projection_incomplete";
/// Who is told of alerts, and the alert that nobody is.
const WEBHOOK: &str = "webhook";
pub const WEBHOOK_FAILS: &str = "webhook_fails";
/// The alert of services whose webhooks take no outcomes.
const OUTCOMES_FAIL: &str = "outcomes_fail";
#[cfg(feature = "redis")]
const REDIS_DOWN: &str = "redis_down";

/// Shared by all porches.
#[derive(Debug, Clone)]
pub struct Watch {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
pub struct Inner {
    pub board: Board,
    pub alerts: Alerts,
    journal: JournalFaults,
    /// Damaged places of the journal that somebody was told of.
    damaged: u64,
    /// What is wrong with providers' accounts, by alert and way.
    providers: BTreeMap<(&'static str, Way), String>,
    /// Services whose webhooks do not take outcomes, and why.
    outcomes: BTreeMap<String, String>,
}

/// The journal's two ends fail, and recover, apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct JournalFaults {
    reading: Option<String>,
    writing: Option<Fault>,
}

impl JournalFaults {
    /// The worse of the two, with its reason.
    fn state(&self) -> (State, String) {
        match self {
            JournalFaults { writing: Some(fault @ Fault::Unwritable(_)), .. }
            | JournalFaults { writing: Some(fault), reading: None } => told(fault),
            JournalFaults { reading: Some(why), .. } => (State::Down, why.clone()),
            JournalFaults { reading: None, writing: None } => (State::Up, String::new()),
        }
    }
}

/// What a fault of a log's comes to.
fn told(fault: &Fault) -> (State, String) {
    match fault {
        Fault::Unwritable(why) => (State::Down, why.clone()),
        Fault::Full { bytes } => {
            (State::Degraded, format!("{bytes} bytes are as many as it may hold but for what is critical"))
        }
    }
}

impl Watch {
    pub fn new(clock: Clock) -> Watch {
        let mut inner = Inner::default();
        inner.board.watch(JOURNAL, "what was accepted waits; nothing new is promised", clock.wall());
        inner.board.watch(STORE, "nothing is delivered or looked up", clock.wall());
        Watch { clock, inner: Arc::new(Mutex::new(inner)) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn journal_fails(&self, why: &dyn std::fmt::Display) {
        let why = why.to_string();
        self.journal(|faults| faults.reading = Some(why));
    }

    pub fn journal_reads(&self) {
        self.journal(|faults| faults.reading = None);
    }

    /// What stands in the way of appends now.
    pub fn journal_writes(&self, fault: Option<Fault>) {
        self.journal(|faults| faults.writing = fault);
    }

    /// How many places of the journal are damaged, all that were ever met by this process. Each is told once.
    pub fn journal_damaged(&self, places: u64) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if places > inner.damaged {
            inner.damaged = places;
            let detail = format!("records at {places} places are lost; what could be read is read");
            set_alert(&mut inner.alerts, DAMAGED, Some(detail), now);
        }
    }

    /// There is a Kafka to be watched, and a disk beside it.
    pub fn add_kafka(&self) {
        let now = self.clock.wall();
        let board = &mut self.lock().board;
        board.watch_replaceable(KAFKA, "only what is critical goes out; the rest waits on the disk", now);
        board.watch_replaceable(BUFFER, "nothing stands in for Kafka if it fails", now);
    }

    /// How Kafka does, and what an outage lost. Told when it changes.
    pub fn outage(&self, outage: &Outage, missing: &Look) {
        let now = self.clock.wall();
        let (state, detail) = match outage.phase() {
            Phase::Normal | Phase::Verifying => (State::Up, ""),
            Phase::Buffering => (State::Down, outage.why()),
            Phase::Recovering => (State::Degraded, "what waited on the disk follows"),
        };
        let mut inner = self.lock();
        inner.board.set(KAFKA, state, detail, now);
        match state {
            State::Down => set_alert(&mut inner.alerts, KAFKA_DOWN, Some(detail.to_owned()), now),
            State::Up => set_alert(&mut inner.alerts, KAFKA_DOWN, None, now),
            // It stands, or not, until the disk is empty.
            State::Degraded => {}
        }
        let lost = (missing.missing > 0).then(|| {
            let ids: Vec<String> = missing.ids.iter().map(ToString::to_string).collect();
            let (count, ids) = (missing.missing, ids.join(", "));
            format!(
                "{count} notifications that the disk took during an outage never reached the ledger: {ids}"
            )
        });
        set_alert(&mut inner.alerts, MISSING, lost, now);
    }

    /// How the disk does that stands in for Kafka. Told when it changes.
    pub fn buffer(&self, fault: Option<&Fault>) {
        let now = self.clock.wall();
        let (state, detail) = fault.map_or((State::Up, String::new()), told);
        let mut inner = self.lock();
        inner.board.set(BUFFER, state, &detail, now);
        set_alert(&mut inner.alerts, BUFFER_UNWRITABLE, fault.map(|_| detail), now);
    }

    /// There is a Cassandra to be watched.
    pub fn add_cassandra(&self) {
        let suffers = "what only Cassandra has cannot be read; what changes waits on the disk";
        self.lock().board.watch_replaceable(CASSANDRA, suffers, self.clock.wall());
    }

    /// How Cassandra does.
    pub fn cassandra(&self, state: State, detail: &str) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if inner.board.set(CASSANDRA, state, detail, now) {
            let why = (state != State::Up).then(|| detail.to_owned());
            set_alert(&mut inner.alerts, CASSANDRA_DOWN, why, now);
        }
    }

    /// It answers and cannot be used: a person has to mend it.
    pub fn cassandra_unfit(&self, why: Option<String>) {
        let now = self.clock.wall();
        set_alert(&mut self.lock().alerts, CASSANDRA_UNFIT, why, now);
    }

    /// More changed than could wait for Cassandra.
    pub fn projection_incomplete(&self, incomplete: Option<&Incomplete>) {
        let now = self.clock.wall();
        let detail = incomplete.map(|incomplete| {
            let Incomplete { since, deletions_lost, .. } = incomplete;
            format!(
                "since {since} more changed than waits for Cassandra; the store is carried there as a whole, but for \
                 deletions ({deletions_lost} that had no room): what they took goes from there when its time is over"
            )
        });
        set_alert(&mut self.lock().alerts, PROJECTION_INCOMPLETE, detail, now);
    }

    /// There is somebody to be told of alerts.
    pub fn add_webhook(&self) {
        let now = self.clock.wall();
        self.lock().board.watch_replaceable(WEBHOOK, "alerts are only shown here", now);
    }

    /// What the webhook made of the last message. `None`: it took it.
    pub fn webhook(&self, fault: Option<&str>) {
        self.heard(WEBHOOK, WEBHOOK_FAILS, fault);
    }

    /// There is a Redis to be watched.
    #[cfg(feature = "redis")]
    pub fn add_redis(&self) {
        let now = self.clock.wall();
        let suffers = "critical records that wait for Kafka stand on the disk alone";
        self.lock().board.watch_replaceable(REDIS, suffers, now);
    }

    /// How Redis does; `None`: it takes writes.
    #[cfg(feature = "redis")]
    pub fn redis(&self, fault: Option<&str>) {
        self.heard(REDIS, REDIS_DOWN, fault);
    }

    /// There is an account to be watched.
    pub fn add_provider(&self, way: Way) {
        let now = self.clock.wall();
        let suffers = "what goes by it waits, or goes by the next channel of its fallback";
        self.lock().board.watch_replaceable(dependency(way), suffers, now);
    }

    /// Whether an account is thought to be broken, and why.
    pub fn provider_broken(&self, way: Way, why: Option<&str>) {
        self.provider(PROVIDER_BROKEN, way, why);
    }

    /// Whether an account is refused: its keys, its rights, or that it is suspended.
    pub fn provider_refuses(&self, way: Way, why: Option<&str>) {
        self.provider(PROVIDER_REFUSES, way, why);
    }

    /// One alert for all accounts that it is true of.
    fn provider(&self, alert: &'static str, way: Way, why: Option<&str>) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        let Inner { board, alerts, providers, .. } = &mut *inner;
        let before = match why {
            Some(why) => providers.insert((alert, way), why.to_owned()),
            None => providers.remove(&(alert, way)),
        };
        if before.as_deref() == why {
            return;
        }
        let own: Vec<&str> =
            providers.iter().filter(|((_, of), _)| *of == way).map(|(_, why)| why.as_str()).collect();
        let state = if own.is_empty() { State::Up } else { State::Down };
        board.set(dependency(way), state, &own.join("; "), now);
        let all: Vec<&str> =
            providers.iter().filter(|((of, _), _)| *of == alert).map(|(_, why)| why.as_str()).collect();
        set_alert(alerts, alert, (!all.is_empty()).then(|| all.join("; ")), now);
    }

    /// What a service's webhook made of the last outcomes. `None`: it took them. One alert for all services.
    pub fn outcomes(&self, service: &str, fault: Option<&str>) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        let Inner { alerts, outcomes, .. } = &mut *inner;
        let before = match fault {
            Some(why) => outcomes.insert(service.to_owned(), why.to_owned()),
            None => outcomes.remove(service),
        };
        if before.as_deref() == fault {
            return;
        }
        let all: Vec<String> = outcomes.iter().map(|(service, why)| format!("{service}: {why}")).collect();
        if all.is_empty() {
            set_alert(alerts, OUTCOMES_FAIL, None, now);
        } else if alerts.raise(OUTCOMES_FAIL, Severity::Warning, all.join("; "), now) {
            tracing::warn!(alert = OUTCOMES_FAIL, "alert");
        }
    }

    fn journal(&self, change: impl FnOnce(&mut JournalFaults)) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        let mut faults = inner.journal.clone();
        change(&mut faults);
        if faults == inner.journal {
            return;
        }
        let (state, detail) = faults.state();
        inner.journal = faults;
        let Inner { board, alerts, journal, .. } = &mut *inner;
        board.set(JOURNAL, state, &detail, now);
        let (unwritable, full) = match &journal.writing {
            Some(Fault::Unwritable(why)) => (Some(why.clone()), None),
            Some(Fault::Full { .. }) => (None, Some(detail)),
            None => (None, None),
        };
        set_alert(alerts, UNREADABLE, journal.reading.clone(), now);
        set_alert(alerts, UNWRITABLE, unwritable, now);
        set_alert(alerts, FULL, full, now);
    }

    pub fn store_fails(&self, why: &dyn std::fmt::Display) {
        self.fails(STORE, "store_unwritable", &why.to_string());
    }

    pub fn store_writes(&self) {
        self.works(STORE, "store_unwritable");
    }

    /// How much waits in the journal.
    pub fn journal_lag(&self, lag: u64) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if lag > JOURNAL_LAG_ALERT {
            let detail = format!("{lag} records wait, more than {JOURNAL_LAG_ALERT}");
            if inner.alerts.raise(LAG, Severity::Warning, detail, now) {
                tracing::warn!(alert = LAG, lag, "alert");
            }
        } else if inner.alerts.clear(LAG, now) {
            tracing::info!(alert = LAG, lag, "alert is over");
        }
    }

    /// How many links to shards there are, after one came or went. A router that never had one is merely new.
    pub fn gateways(&self, links: usize) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if links == 0 {
            let detail = "nobody is connected: notifications go to inboxes and by their fallbacks".to_owned();
            if inner.alerts.raise(NO_GATEWAY, Severity::Critical, detail, now) {
                tracing::warn!(alert = NO_GATEWAY, "alert");
            }
        } else if inner.alerts.clear(NO_GATEWAY, now) {
            tracing::info!(alert = NO_GATEWAY, "alert is over");
        }
    }

    /// Something to be woken for that is no dependency.
    pub fn alert(&self, name: &str, critical: bool, detail: &str) {
        let now = self.clock.wall();
        let severity = if critical { Severity::Critical } else { Severity::Warning };
        if self.lock().alerts.raise(name, severity, detail.to_owned(), now) {
            tracing::warn!(alert = name, detail, "alert");
        }
    }

    /// Nobody need be woken for it any more.
    pub fn over(&self, name: &str) {
        let now = self.clock.wall();
        set_alert(&mut self.lock().alerts, name, None, now);
    }

    fn heard(&self, dependency: &'static str, alert: &str, fault: Option<&str>) {
        match fault {
            Some(why) => self.fails(dependency, alert, why),
            None => self.works(dependency, alert),
        }
    }

    fn fails(&self, dependency: &'static str, alert: &str, why: &str) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        inner.board.set(dependency, State::Down, why, now);
        set_alert(&mut inner.alerts, alert, Some(why.to_owned()), now);
    }

    fn works(&self, dependency: &'static str, alert: &str) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if inner.board.set(dependency, State::Up, "", now) {
            set_alert(&mut inner.alerts, alert, None, now);
        }
    }
}

/// What an account is called on the board.
fn dependency(way: Way) -> &'static str {
    match way {
        Way::Fcm => "provider_fcm",
        Way::Apns => "provider_apns",
        Way::WebPush => "provider_webpush",
        Way::Email => "provider_email",
        Way::Sms => "provider_sms",
        Way::Voice => "provider_voice",
    }
}

/// Raises a critical alert, or lets it be over.
fn set_alert(alerts: &mut Alerts, name: &str, why: Option<String>, now: Wall) {
    match why {
        Some(why) => {
            if alerts.raise(name, Severity::Critical, why.clone(), now) {
                tracing::warn!(alert = name, why, "alert");
            }
        }
        None => {
            if alerts.clear(name, now) {
                tracing::info!(alert = name, "alert is over");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(watch: &Watch) -> Vec<String> {
        let inner = watch.lock();
        let standing = inner.alerts.all().filter(|alert| alert.until.is_none());
        standing.map(|alert| alert.name.clone()).collect()
    }

    fn journal(watch: &Watch) -> State {
        watch.lock().board.all().find(|one| one.name == JOURNAL).expect("it is watched").state
    }

    #[test]
    fn reading_goes_on_while_writing_fails_and_the_journal_is_down_all_the_same() {
        let watch = Watch::new(Clock::start());
        watch.journal_writes(Some(Fault::Unwritable("disk full".to_owned())));
        watch.journal_reads();
        assert_eq!((journal(&watch), standing(&watch)), (State::Down, vec![UNWRITABLE.to_owned()]));
        watch.journal_fails(&"gone");
        watch.journal_writes(None);
        assert_eq!((journal(&watch), standing(&watch)), (State::Down, vec![UNREADABLE.to_owned()]));
        watch.journal_reads();
        assert_eq!((journal(&watch), standing(&watch)), (State::Up, vec![]));
    }

    #[test]
    fn one_alert_tells_of_all_accounts_and_is_over_with_the_last() {
        let watch = Watch::new(Clock::start());
        for way in [Way::Sms, Way::Email] {
            watch.add_provider(way);
            watch.provider_broken(way, Some(way.name()));
        }
        watch.provider_refuses(Way::Sms, Some("no rights"));
        assert_eq!(standing(&watch), [PROVIDER_REFUSES.to_owned(), PROVIDER_BROKEN.to_owned()]);
        watch.provider_broken(Way::Sms, None);
        watch.provider_broken(Way::Sms, None);
        let detail = |name: &str| {
            let inner = watch.lock();
            inner.alerts.standing().find(|alert| alert.name == name).map(|alert| alert.detail.clone())
        };
        assert_eq!(detail(PROVIDER_BROKEN).as_deref(), Some("email"));
        let state =
            |way| watch.lock().board.all().find(|one| one.name == dependency(way)).map(|one| one.state);
        assert_eq!((state(Way::Sms), state(Way::Email)), (Some(State::Down), Some(State::Down)));
        watch.provider_broken(Way::Email, None);
        watch.provider_refuses(Way::Sms, None);
        assert_eq!((standing(&watch), state(Way::Sms)), (vec![], Some(State::Up)));
    }

    #[test]
    fn a_full_journal_is_degraded_and_damage_is_told_once_a_place() {
        let watch = Watch::new(Clock::start());
        watch.journal_writes(Some(Fault::Full { bytes: 7 }));
        assert_eq!((journal(&watch), standing(&watch)), (State::Degraded, vec![FULL.to_owned()]));
        watch.journal_writes(None);
        for places in [0, 2, 2, 3] {
            watch.journal_damaged(places);
        }
        let inner = watch.lock();
        let told = inner.alerts.all().find(|alert| alert.name == DAMAGED).expect("it stands");
        assert_eq!((told.times, told.detail.contains("3 places")), (2, true), "{told:?}");
    }
}
