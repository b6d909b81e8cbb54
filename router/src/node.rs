//! A router, put together: opens what it keeps, starts its porches and the owner's thread, and ends them in order.
//!
//! Called by `main.rs`, and in standalone by the gateway's. Owns a runtime and threads of its own. Decides nothing.
//!
//! ```text
//! api ─▶ journal ─▶ reader ─▶ ┌ owner's thread ┐ ─▶ link queues ─▶ shards
//! links, providers, api ────▶ └────────────────┘ ─▶ provider queues
//!                                     └▶ persist ─▶ reader (commits the journal)
//! ```

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use ops::clock::Clock;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::alerts;
use crate::api::access::Access;
use crate::api::otp::Codes;
use crate::api::{self, App, Spans, WeakApp};
use crate::backup::Backups;
#[cfg(feature = "redis")]
use crate::config::RedisConfig;
use crate::config::{Config, UnsubscribeConfig, Webhook};
use crate::ingest::Intake;
use crate::ingest::idempotency::Idempotency;
use crate::ingest::recent::Recent;
use crate::journal::embedded::OpenError;
use crate::journal::{Journal, JournalReader, Positions};
use crate::limits::{
    BLOCKING_THREADS_MAX, ENTRIES_QUEUE_MAX, IDEMPOTENCY_SWEEP_EVERY, INPUTS_QUEUE_MAX,
    JOURNAL_LOOKED_AT_EVERY, SHUTDOWN_WITHIN,
};
use crate::links::Links;
use crate::metrics::Metrics;
use crate::migrate::{self, Unfinished};
use crate::otp::SealKey;
use crate::outage;
use crate::outcomes::Hearer;
use crate::outcomes::post::{Receiver, Sender, Target};
use crate::owner::{Now, Owner, OwnerConfig};
#[cfg(feature = "kafka")]
use crate::owners::Owners;
use crate::projection::{self, Projection};
use crate::provider::carriers::Carriers;
use crate::provider::dispatch::{self, Account, Dispatch};
use crate::provider::outbox::Outbox;
use crate::provider::stationery::Stationery;
use crate::provider::way::Ways;
use crate::provider::{Providers, Queues};
#[cfg(feature = "redis")]
use crate::redis::{CriticalList, Redis};
use crate::store::{DiskStore, Store, StoreError};
use crate::tenure::Tenure;
use crate::unsubscribe::Exits;
use board::Watch;
use control::Control;
use decider::Decider;
use inputs::Input;
use journal::JournalParts;
use letters::OwnerBook;
use persist::Persist;
use reader::{ReaderTask, Taken};
use run::Run;
use views::Views;

pub mod board;
pub mod control;
mod decider;
mod drawn_key;
mod epoch;
pub mod inputs;
mod instance;
pub mod journal;
#[cfg(feature = "kafka")]
pub mod kafka;
mod letters;
mod persist;
mod reader;
mod run;
#[cfg(feature = "kafka")]
mod several;
pub mod signals;
pub mod views;

/// Threads of the router's runtime, beside the owner's and the journal's.
const RUNTIME_THREADS: usize = 2;

/// Why a router does not start; one line for a person. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{what} cannot listen on {address}: {why}")]
    Listen { what: &'static str, address: SocketAddr, why: String },
    #[error("the folder {} cannot be used: {why}", dir.display())]
    Data { dir: PathBuf, why: std::io::Error },
    #[error(transparent)]
    Journal(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("Kafka: {0}")]
    Kafka(String),
    #[error("Cassandra: {0}")]
    Cassandra(String),
    #[error("{0}")]
    Redis(String),
    #[error("{0}")]
    OtherKind(&'static str),
    #[error(transparent)]
    Unfinished(#[from] Unfinished),
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
}

/// A router that runs. Dropping it without [`RunningRouter::shutdown`] is like a crash: nothing accepted is lost.
#[derive(Debug)]
pub struct RunningRouter {
    pub api: SocketAddr,
    pub admin: SocketAddr,
    pub links: SocketAddr,
    runtime: Runtime,
    stages: Stages,
    app: WeakApp,
    inputs: mpsc::WeakSender<Input>,
    started: Config,
}

/// What is told to end, in this order.
#[derive(Debug)]
struct Stages {
    /// Nothing new is taken in; what is on its way is answered.
    api: watch::Sender<bool>,
    api_ended: oneshot::Receiver<()>,
    /// The journal is read no further; the owner finishes what it has.
    tenure: Tenure,
    reader: watch::Sender<bool>,
    reader_ended: oneshot::Receiver<()>,
    links: watch::Sender<bool>,
}

/// The listeners, bound before anything else is touched.
struct Listeners {
    api: TcpListener,
    admin: TcpListener,
    links: TcpListener,
}

/// Starts a router. Blocks until it is ready.
pub fn start(config: &Config) -> Result<RunningRouter, StartError> {
    start_with(config, Vec::new())
}

/// The same on a journal that the caller opens, for tests that break it.
pub fn start_on(
    config: &Config,
    journal: impl FnOnce(&Config, &Runtime) -> Result<JournalParts, StartError>,
) -> Result<RunningRouter, StartError> {
    start_all(config, journal, Vec::new())
}

/// The same with providers' accounts that the caller brings.
pub fn start_with(config: &Config, accounts: Vec<Account>) -> Result<RunningRouter, StartError> {
    start_all(config, journal::open, accounts)
}

fn start_all(
    config: &Config,
    journal: impl FnOnce(&Config, &Runtime) -> Result<JournalParts, StartError>,
    accounts: Vec<Account>,
) -> Result<RunningRouter, StartError> {
    config.unkept.say();
    let listeners = Listeners {
        api: listen("the API", config.api)?,
        admin: listen("the admin listener", config.admin)?,
        links: listen("the links listener", config.links)?,
    };
    let unusable = |why| StartError::Data { dir: config.data.clone(), why };
    std::fs::create_dir_all(config.store_dir()).map_err(unusable)?;
    let store = DiskStore::open(&config.store_dir())?;
    instance::check(&store, config.routers > 1)?;
    migrate::check(config, &store)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("router")
        .enable_all()
        .build()
        .map_err(StartError::Threads)?;
    let parts = journal(config, &runtime)?;
    let cassandra = projection::open(config, &runtime, &store)?;
    let started = {
        let _inside = runtime.enter();
        compose(config, listeners, parts, cassandra, accounts, store)?
    };
    let Started { api, admin, links, stages, app, inputs } = started;
    Ok(RunningRouter { api, admin, links, runtime, stages, app, inputs, started: config.clone() })
}

/// Refuses the store of one of several routers.
#[cfg(feature = "kafka")]
pub(crate) fn check_kind(store: &DiskStore) -> Result<(), StartError> {
    instance::check(store, false)
}

fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let fault = |error: std::io::Error| StartError::Listen { what, address, why: error.to_string() };
    let listener = TcpListener::bind(address).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    Ok(listener)
}

/// What `compose` made.
struct Started {
    api: SocketAddr,
    admin: SocketAddr,
    links: SocketAddr,
    stages: Stages,
    app: WeakApp,
    inputs: mpsc::WeakSender<Input>,
}

/// The accounts of the settings, and those that the caller brings.
fn dispatch(
    config: &Config,
    mut accounts: Vec<Account>,
    inputs: &mpsc::Sender<Input>,
    by: (Clock, &Watch, &Tenure),
    metrics: &Arc<Metrics>,
    exits: Option<Arc<Exits>>,
) -> Arc<Dispatch> {
    let (clock, ..) = by;
    accounts.extend(dispatch::accounts(&Carriers::new(&config.providers, clock), &config.providers.budgets));
    let stationery = Stationery::new(exits, config.templates.clone());
    let breaker = config.otp.breaker;
    let dispatch = Dispatch::start(accounts, breaker, inputs, by, metrics, stationery);
    dispatch.cap(config.providers.caps());
    Arc::new(dispatch.dropping(&config.unkept.channels))
}

/// Makes every part and joins them. Called inside the runtime.
fn compose(
    config: &Config,
    listeners: Listeners,
    mut parts: JournalParts,
    cassandra: Option<projection::Opened>,
    accounts: Vec<Account>,
    store: DiskStore,
) -> Result<Started, StartError> {
    let clock = Clock::start();
    let metrics = Arc::new(Metrics::new(config.services.iter().map(|service| service.name.as_str())));
    let watch = Watch::new(clock);
    let outbox = Arc::new(Outbox::open(store.clone(), clock)?);
    let seed = ops::random::seed();
    let epoch = epoch::next(&store, clock.wall())?;
    let (inputs, inputs_out) = mpsc::channel(INPUTS_QUEUE_MAX);
    let exits = exits(config)?;
    let tenure = tenure(config, clock);
    let dispatch = dispatch(config, accounts, &inputs, (clock, &watch, &tenure), &metrics, exits.clone());
    let owner_config = owner_config(config, epoch, dispatch.ways(), cassandra.as_ref());
    let view = Views::new(store.clone(), tenure.clone(), config.partitions());

    let (entries, entries_out) = mpsc::channel(ENTRIES_QUEUE_MAX);
    let (critical_only, critical_only_out) = watch::channel(false);
    let (committed, committed_out) = watch::channel(Positions::new());
    let Outward { queued, queued_out, safe_queued, projection } =
        project(config, cassandra, &store, &inputs, (clock, &watch))?;
    let recent = Arc::new(Recent::default());
    let run = Run {
        owner: (),
        recent: Arc::clone(&recent),
        entries: entries_out,
        critical_only,
        inputs: inputs_out,
        committed,
        queued,
        history: projection.as_ref().map(|projection| projection.asker(inputs.clone())),
        providers: Queues::start(&Providers::new(&outbox), &inputs, &tenure, clock, &metrics),
        dispatch: Arc::clone(&dispatch),
        tenure: tenure.clone(),
        clock,
        metrics: Arc::clone(&metrics),
        watch: watch.clone(),
    };
    decide(run, &parts, (owner_config, seed), (&store, &tenure, clock, &watch))?;
    let safe_out =
        spawn_persist(&store, committed_out.clone(), (queued_out, safe_queued), (&metrics, &watch));
    let receivers = receivers(config, &mut parts);
    let (reader, reader_ended) =
        spawn_reader(parts.reader, entries, (safe_out, critical_only_out), watch.clone());
    #[cfg(feature = "kafka")]
    let kafka = parts.kafka.map(|kafka| {
        let figures = kafka.figures.clone();
        kafka.start(config.partitions(), epoch, inputs.clone(), reader.subscribe(), watch.clone());
        figures
    });

    let mut mirror = mirror(config, &watch)?;
    let buffered = parts.buffer.map(|disk| {
        outage::start(outage::Parts {
            kafka: Arc::clone(&parts.journal),
            disk,
            store: store.clone(),
            inputs: inputs.clone(),
            letters: Arc::new(OwnerBook::new(inputs.clone())),
            mirror: mirror.take(),
            drain_per_s: config.limits.drain_per_s,
            ledger_kept: config.ledger_kept,
            is_one_of_several: config.routers > 1,
            taken: committed_out.clone(),
            clock,
            watch: watch.clone(),
        })
    });
    let outage = buffered.transpose()?;
    let journal = outage.clone().map_or(parts.journal, |buffered| buffered as Arc<dyn Journal>);
    let idempotency = Idempotency::new(store, config.idempotency);
    let app = App::new(api::Parts {
        access: Access::new(config),
        intake: Intake::new(journal, idempotency, recent, &config.services, clock, Arc::clone(&metrics)),
        kept: Spans::of(config),
        backups: Backups::new(config.backups_dir()),
        accounts: config.providers.clone(),
        receivers,
        codes: Codes::new(config.otp.rules.clone(), (seal_key(config)?, config.otp.seal_key.is_some())),
        exits,
        view,
        outbox,
        dispatch,
        inputs: inputs.clone(),
        watch: watch.clone(),
        clock,
        metrics: Arc::clone(&metrics),
        outage,
        projection,
        #[cfg(feature = "kafka")]
        kafka,
    });
    attend(config, &app, &watch, clock);
    let (links_down, links_down_out) = watch::channel(false);
    let links = spawn_links(Links::new(inputs.clone(), metrics, seed), listeners.links, links_down_out)?;
    let (api_down, api_down_out) = watch::channel(false);
    let (api, admin, api_ended) = spawn_api(&app, listeners.api, listeners.admin, &api_down_out)?;
    let stages = Stages { api: api_down, api_ended, tenure, reader, reader_ended, links: links_down };
    Ok(Started { api, admin, links, stages, app: app.downgrade(), inputs: inputs.downgrade() })
}

/// Starts what goes on beside the walk of a notification.
fn attend(config: &Config, app: &App, watch: &Watch, clock: Clock) {
    spawn_webhook(config, watch, clock);
    spawn_outcomes(config, app);
    spawn_sweeper(app);
    spawn_journal_watch(app);
}

/// What goes to Cassandra, and how far it may: numbers of commits that wait, those of them that are on the disk.
struct Outward {
    queued: watch::Sender<u64>,
    queued_out: watch::Receiver<u64>,
    safe_queued: watch::Sender<u64>,
    projection: Option<Projection>,
}

fn project(
    config: &Config,
    cassandra: Option<projection::Opened>,
    store: &DiskStore,
    inputs: &mpsc::Sender<Input>,
    (clock, watch): (Clock, &Watch),
) -> Result<Outward, StartError> {
    let mut left = 0;
    if cassandra.is_some() {
        // What an earlier run left may go as soon as it is on the disk.
        store.persist()?;
        left = projection::queue::State::load(store)?.map_or(0, |state| state.last);
    }
    let (queued, queued_out) = watch::channel(left);
    let (safe_queued, safe) = watch::channel(left);
    let projection = cassandra.map(|opened| {
        projection::start(projection::Parts {
            opened,
            store: store.clone(),
            inputs: inputs.clone(),
            safe,
            spans: projection::rows::Spans { inbox: config.inbox_kept, ledger: config.ledger_kept },
            clock,
            watch: watch.clone(),
        })
    });
    Ok(Outward { queued, queued_out, safe_queued, projection })
}

/// Where critical records of an outage are copied to, if the settings name a Redis.
#[cfg(feature = "redis")]
fn mirror(config: &Config, watch: &Watch) -> Result<Option<Arc<dyn outage::mirror::List>>, StartError> {
    let Some(RedisConfig { section, records_max }) = &config.redis else { return Ok(None) };
    let target = section.target().map_err(|error| StartError::Redis(error.to_string()))?;
    let redis = Redis::start(target, watch.clone());
    Ok(Some(Arc::new(CriticalList::new(redis, *records_max))))
}

/// The settings name none: they would have been refused.
#[cfg(not(feature = "redis"))]
fn mirror(_config: &Config, _watch: &Watch) -> Result<Option<Arc<dyn outage::mirror::List>>, StartError> {
    Ok(None)
}

/// How far the journal may be committed.
fn spawn_persist(
    store: &DiskStore,
    committed: watch::Receiver<Positions>,
    (queued, safe_queued): (watch::Receiver<u64>, watch::Sender<u64>),
    (metrics, watch): (&Arc<Metrics>, &Watch),
) -> watch::Receiver<Positions> {
    let (safe, safe_out) = watch::channel(Positions::new());
    let (store, metrics, watch) = (store.clone(), Arc::clone(metrics), watch.clone());
    tokio::spawn(Persist { store, committed, safe, queued, safe_queued, metrics, watch }.run());
    safe_out
}

fn spawn_reader(
    reader: Box<dyn JournalReader>,
    entries: mpsc::Sender<Taken>,
    (committed, critical_only): (watch::Receiver<Positions>, watch::Receiver<bool>),
    watch: Watch,
) -> (watch::Sender<bool>, oneshot::Receiver<()>) {
    let (down, down_out) = watch::channel(false);
    let (ended, ended_out) = oneshot::channel();
    let task = ReaderTask { reader, entries, committed, down: down_out, critical_only, watch };
    tokio::spawn(async move {
        task.run().await;
        let _nobody_waits = ended.send(());
    });
    (down, ended_out)
}

fn owner_config(
    config: &Config,
    epoch: u64,
    ways: Ways,
    cassandra: Option<&projection::Opened>,
) -> OwnerConfig {
    OwnerConfig {
        partitions: config.partitions(),
        epoch,
        push_per_user_hour: config.limits.push_per_user_hour,
        global_per_s: config.limits.global_per_s,
        shed_low_percent: config.limits.shed_low_percent,
        inbox_kept: config.inbox_kept,
        ledger_kept: config.ledger_kept,
        ways,
        told_of_outcomes: config.hearers(),
        projected_from_nothing: cassandra.is_some_and(projection::Opened::is_empty),
        projected_bytes_max: config.cassandra.as_ref().map(|cassandra| cassandra.queue_bytes_max),
        ..OwnerConfig::default()
    }
}

fn seal_key(config: &Config) -> Result<SealKey, StartError> {
    let kept = || drawn_key::load_or_draw(&config.otp_key()).map(|key| SealKey::new(&key));
    let unusable = |why| StartError::Data { dir: config.data.clone(), why };
    config.otp.seal_key.clone().map_or_else(kept, Ok).map_err(unusable)
}

/// How mails say how to have no more of them, if they do.
fn exits(config: &Config) -> Result<Option<Arc<Exits>>, StartError> {
    let Some(UnsubscribeConfig { url, key }) = &config.unsubscribe else { return Ok(None) };
    if let Some(key) = key {
        return Ok(Some(Arc::new(Exits::new(url.clone(), key.reveal().as_bytes()))));
    }
    let unusable = |why| StartError::Data { dir: config.data.clone(), why };
    let key = drawn_key::load_or_draw(&config.unsubscribe_key()).map_err(unusable)?;
    Ok(Some(Arc::new(Exits::new(url.clone(), &key))))
}

fn now(clock: Clock) -> Now {
    Now { mono: clock.mono(), wall: clock.wall() }
}

fn tenure(config: &Config, clock: Clock) -> Tenure {
    match config.routers {
        1 => Tenure::alone(),
        _ => Tenure::of_one_of_several(config.partitions(), clock),
    }
}

/// Starts the one owner of a router alone, or the owners of one of several.
fn decide(
    run: Run<()>,
    parts: &JournalParts,
    (config, seed): (OwnerConfig, u64),
    (store, tenure, clock, watch): (&DiskStore, &Tenure, Clock, &Watch),
) -> Result<(), StartError> {
    if tenure.is_alone() {
        let owner = Owner::open(store.clone(), config, seed, now(clock))?;
        return spawn_owner(run.of(owner));
    }
    #[cfg(feature = "kafka")]
    return spawn_owner(run.of(several(parts, config, seed, (store, tenure, clock, watch))?));
    #[cfg(not(feature = "kafka"))]
    {
        let _several_would_need_them = (parts, watch);
        Err(StartError::Kafka("this build is without Kafka: leave [kafka] out".to_owned()))
    }
}

/// The owners of one of several routers.
#[cfg(feature = "kafka")]
fn several(
    parts: &JournalParts,
    config: OwnerConfig,
    seed: u64,
    (store, tenure, clock, watch): (&DiskStore, &Tenure, Clock, &Watch),
) -> Result<several::Several, StartError> {
    use crate::journal::kafka::{LedgerWriter, Restorer, Restoring};

    let kafka = parts.kafka.as_ref().and_then(|kafka| kafka.several.as_ref());
    let kafka = kafka.ok_or_else(|| StartError::Kafka("several routers share a Kafka".to_owned()))?;
    let fault = |error: rdkafka::error::KafkaError| StartError::Kafka(error.to_string());
    let restorer = Restorer::new(&kafka.config, store.clone(), clock).map_err(fault)?;
    Ok(several::Several::new(several::Parts {
        owners: Owners::new(store.clone(), config, seed),
        store: store.clone(),
        writer: LedgerWriter::new(&kafka.config, &instance::name(store)?),
        restoring: Restoring::start(restorer, kafka.told.clone()).map_err(StartError::Threads)?,
        group: kafka.group.clone(),
        tenure: tenure.clone(),
        clock,
        watch: watch.clone(),
    }))
}

/// The owner decides on a thread of its own; only its queues are async.
fn spawn_owner<D: Decider + Send + 'static>(run: Run<D>) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(StartError::Threads)?;
    thread::Builder::new()
        .name("router-owner".to_owned())
        .spawn(move || runtime.block_on(run.run()))
        .map_err(StartError::Threads)?;
    Ok(())
}

fn spawn_links(
    links: Links,
    listener: TcpListener,
    down: watch::Receiver<bool>,
) -> Result<SocketAddr, StartError> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Threads)?;
    let at = listener.local_addr().map_err(StartError::Threads)?;
    tokio::spawn(Arc::new(links).serve(listener, down));
    Ok(at)
}

fn spawn_api(
    app: &App,
    api: TcpListener,
    admin: TcpListener,
    down: &watch::Receiver<bool>,
) -> Result<(SocketAddr, SocketAddr, oneshot::Receiver<()>), StartError> {
    let api = tokio::net::TcpListener::from_std(api).map_err(StartError::Threads)?;
    let admin = tokio::net::TcpListener::from_std(admin).map_err(StartError::Threads)?;
    let api_at = api.local_addr().map_err(StartError::Threads)?;
    let admin_at = admin.local_addr().map_err(StartError::Threads)?;
    let (ended, ended_out) = oneshot::channel();
    let served = api::serve(api, app.clone(), down.clone());
    tokio::spawn(async move {
        served.await;
        let _nobody_waits = ended.send(());
    });
    tokio::spawn(api::admin::serve(admin, app.clone(), down.clone()));
    Ok((api_at, admin_at, ended_out))
}

fn spawn_webhook(config: &Config, watch: &Watch, clock: Clock) {
    if let Some(webhook) = config.webhook.clone() {
        let instance = format!("{} {}", ops::host::name(), config.api);
        tokio::spawn(alerts::webhook::run(webhook, instance, watch.clone(), clock));
    }
}

/// Who is told of outcomes: services by their webhooks, and the topic.
#[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "there is no topic"))]
fn receivers(config: &Config, parts: &mut JournalParts) -> Vec<Arc<Receiver>> {
    let told = config.told_of_outcomes().into_iter();
    let receivers = told.map(|(service, webhook): (&str, &Webhook)| {
        Receiver::new(Hearer::Service(service.to_owned()), Target::Webhook(Mutex::new(webhook.clone())))
    });
    #[cfg(feature = "kafka")]
    let receivers = {
        let topic = parts.kafka.as_mut().and_then(|kafka| kafka.outcomes.take());
        receivers.chain(topic.map(|topic| Receiver::new(Hearer::Topic, Target::Topic(topic))))
    };
    receivers.map(Arc::new).collect()
}

fn spawn_outcomes(config: &Config, app: &App) {
    for receiver in &app.receivers {
        let sender = Sender {
            receiver: Arc::clone(receiver),
            store: app.view.store().clone(),
            instance: format!("{} {}", ops::host::name(), config.api),
            watch: app.watch.clone(),
            clock: app.clock,
        };
        tokio::spawn(sender.run());
    }
}

fn spawn_sweeper(app: &App) {
    let app = app.downgrade();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(IDEMPOTENCY_SWEEP_EVERY).await;
            let Some(app) = app.upgrade() else { return };
            let _swept_or_logged = tokio::task::spawn_blocking(move || app.intake.sweep()).await;
        }
    });
}

/// Shows how the journal does, also while nobody hands anything in.
fn spawn_journal_watch(app: &App) {
    let app = app.downgrade();
    tokio::spawn(async move {
        while let Some(app) = app.upgrade() {
            let journal = app.intake.journal();
            let status = journal.status();
            app.watch.journal_lag(status.lag);
            app.watch.journal_damaged(status.damaged);
            app.watch.journal_writes(journal.fault());
            drop(app);
            tokio::time::sleep(JOURNAL_LOOKED_AT_EVERY).await;
        }
    });
}

impl RunningRouter {
    pub fn control(&self) -> Control {
        let RunningRouter { app, inputs, started, runtime, .. } = self;
        let runtime = runtime.handle().clone();
        Control { app: app.clone(), inputs: inputs.clone(), runtime, started: started.clone() }
    }

    /// Ends in order, within [`SHUTDOWN_WITHIN`]: takes nothing new in, answers what is on its way, lets the owner
    /// finish, forces everything to the disk, closes the links.
    pub fn shutdown(self) {
        let RunningRouter { runtime, stages, .. } = self;
        let Stages { api, api_ended, tenure, reader, reader_ended, links } = stages;
        runtime.block_on(async {
            let _all_gone = api.send(true);
            let answered = timeout(SHUTDOWN_WITHIN / 2, api_ended).await;
            // No provider is called any more; what is out the owner waits for.
            tenure.end();
            let _all_gone = reader.send(true);
            let finished = timeout(SHUTDOWN_WITHIN / 2, reader_ended).await;
            let _all_gone = links.send(true);
            if answered.is_err() || finished.is_err() {
                tracing::warn!("cut off what did not end in time; the journal still has it");
            }
        });
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        tracing::info!("router ended");
    }
}
