//! A node: its doors, its shards and its admin listener, started together and ended in order.
//!
//! Looks at the host and opens listeners first, so that what is missing and a busy port are said before anything
//! else is touched. One thread a shard, each with a glommio executor and rings of its own. Called by `main` and by
//! tests.

mod room;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam::channel::{Receiver, Sender, bounded};
use gateway_ring::{Notifier, RingConfig, Rings, Table};
use ops::clock::Clock;
use rustls::ServerConfig;

use crate::admission::{Admission, AdmissionLimits};
use crate::auth::keys::{KeyError, KeySet};
use crate::auth::{Authenticator, Beliefs};
use crate::census::Census;
use crate::config::{ConfigError, Gateway, Tls};
use crate::io::admin::{Admin, Operator};
use crate::io::certificates::{self, CertificateError};
use crate::io::listener;
use crate::io::means::Shortfall;
use crate::io::shard_loop::{Command, ShardLoop, Sibling, TlsDoor};
use crate::limits;
use crate::metrics::ShardMetrics;
use crate::shard::drain::DrainKind;
use crate::shard::request::Console;
use crate::shard::{Now, Settings, Shard, ShardConfig};
use crate::tls::Resumption;

pub use room::check_host;

/// Why a node does not start; one line for a person. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} for {what}: {why}")]
    Listen { what: &'static str, address: SocketAddr, why: std::io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}: {why}", file.display())]
    KeyFile { file: PathBuf, why: std::io::Error },
    #[error("{}: {why}", file.display())]
    Key { file: PathBuf, why: KeyError },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the router {name:?} is not found: {why}")]
    Router { name: String, why: std::io::Error },
    #[error(
        "the router {0:?} is not on this machine: links off it need a shared key, which is not built yet"
    )]
    RouterElsewhere(String),
    #[error("{0}{remedy}", remedy = remedy(.0))]
    Rings(gateway_ring::OpenError),
    #[error(transparent)]
    Short(#[from] Shortfall),
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

impl From<gateway_ring::OpenError> for StartError {
    fn from(why: gateway_ring::OpenError) -> StartError {
        StartError::Rings(why)
    }
}

/// Who sets the limit that is in the way, if it is one.
fn remedy(why: &gateway_ring::OpenError) -> &'static str {
    if why.is_a_limit() { " (tuning apply --profile gateway-500k or gateway-1m sets it)" } else { "" }
}

/// The listening sockets of a node, before anything is served on them.
#[derive(Debug)]
pub struct Doors {
    clients: Vec<TcpListener>,
    /// As many, or none.
    tls: Vec<TcpListener>,
    admin: TcpListener,
    clients_address: SocketAddr,
    tls_address: Option<SocketAddr>,
}

impl Doors {
    pub fn open(gateway: &Gateway) -> Result<Doors, StartError> {
        let shards = shard_count(gateway);
        let fault = |what, address| move |why| StartError::Listen { what, address, why };
        let clients = listener::open(gateway.listen, shards).map_err(fault("clients", gateway.listen))?;
        let clients_address = clients[0].local_addr().map_err(fault("clients", gateway.listen))?;
        let (mut tls, mut tls_address) = (Vec::new(), None);
        if let Some(Tls { listen, .. }) = gateway.tls {
            tls = listener::open(listen, shards).map_err(fault("clients by TLS", listen))?;
            tls_address = Some(tls[0].local_addr().map_err(fault("clients by TLS", listen))?);
        }
        let admin = TcpListener::bind(gateway.admin).map_err(fault("the admin", gateway.admin))?;
        Ok(Doors { clients, tls, admin, clients_address, tls_address })
    }

    /// Where clients connect; a port 0 is a real one here.
    pub fn clients_address(&self) -> SocketAddr {
        self.clients_address
    }

    /// The origins under which this node is reached on its own machine.
    pub fn own_origins(&self) -> Vec<String> {
        let mut origins = Gateway::own_origins(self.clients_address);
        origins.extend(self.tls_address.map(Gateway::own_tls_origins).into_iter().flatten());
        origins
    }
}

fn shard_count(gateway: &Gateway) -> usize {
    match gateway.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(limits::SHARDS_MAX),
        shards => shards,
    }
}

/// A node that serves.
#[derive(Debug)]
pub struct RunningNode {
    pub clients: SocketAddr,
    /// Where clients connect by TLS.
    pub tls: Option<SocketAddr>,
    pub admin: SocketAddr,
    /// What each shard's rings got.
    pub tables: Vec<Table>,
    control: Control,
    shards: Vec<glommio::ExecutorJoinHandle<()>>,
    _admin: Admin,
}

/// The means to tell all shards something. Cloned into the signal thread.
#[derive(Debug, Clone)]
pub struct Control {
    shards: Vec<Sibling>,
    admission: Arc<Admission>,
    /// Sockets of clients that the rings have room for.
    room: u64,
    clock: Clock,
    own_origins: Vec<String>,
    /// Absent: the node has no TLS listener.
    resumption: Option<Resumption>,
}

/// Starts a node. `routers` are resolved addresses.
pub fn start(
    gateway: &Gateway,
    doors: Doors,
    routers: &[SocketAddr],
    console: Option<Console>,
) -> Result<RunningNode, StartError> {
    gateway.check()?;
    let clock = Clock::start();
    let own_origins = doors.own_origins();
    let Doors { clients, tls, admin, clients_address, tls_address } = doors;
    let admission = Arc::new(Admission::new(admission_limits(gateway)));
    let census = Arc::new(Census::new(ops::random::seed()));
    let authenticator = Arc::new(authenticator(gateway, &own_origins)?);
    let resumption = gateway.tls.as_ref().map(|_| Resumption::new()).transpose()?;
    let tls_config = tls_config(gateway, resumption.as_ref(), clock)?;
    let console = console.map(Arc::new);
    let boot = ops::random::seed();
    let mut all_metrics = Vec::new();
    let mut starting = Vec::new();
    let shards = clients.len();
    let mut tls = tls.into_iter();
    for (number, clients) in clients.into_iter().enumerate() {
        let listeners = Listeners { clients, tls: tls.next().zip(tls_config.clone()) };
        let metrics = Arc::new(ShardMetrics::default());
        all_metrics.push(Arc::clone(&metrics));
        let config = ShardConfig {
            node: node_name(gateway),
            shard: u16::try_from(number).expect("SHARDS_MAX is below"),
            boot,
            routers: routers.len(),
            admission: Arc::clone(&admission),
            census: Arc::clone(&census),
            authenticator: Arc::clone(&authenticator),
            metrics,
            settings: Settings::from(gateway),
            console: console.clone(),
        };
        let rings = ring_config(gateway, shards);
        starting.push(start_shard(number, listeners, config, rings, routers.to_vec(), clock)?);
    }
    let Started { handles, channels, tables } = wait_for(starting)?;
    introduce(&channels);
    let room = tables.iter().map(room::of).sum();
    room::settle(&admission, gateway, room);
    let control =
        Control { shards: channels, admission: Arc::clone(&admission), room, clock, own_origins, resumption };
    let drainer = control.clone();
    let operator = Operator {
        admission,
        shards: all_metrics,
        was_linked: AtomicBool::new(false),
        drain: Box::new(move |kind| drainer.drain(kind)),
    };
    let admin = Admin::start(&admin, operator, clock).map_err(|why| StartError::Thread(why.to_string()))?;
    Ok(RunningNode {
        clients: clients_address,
        tls: tls_address,
        admin: admin.address(),
        tables,
        control,
        shards: handles,
        _admin: admin,
    })
}

/// Tells each shard who the others are.
fn introduce(shards: &[Sibling]) {
    for (place, shard) in shards.iter().enumerate() {
        let others = shards.iter().enumerate().filter(|(other, _)| *other != place);
        let siblings = others.map(|(_, sibling)| sibling.clone()).collect();
        // It has just started: its commands are empty.
        let _heard = shard.commands.try_send(Command::Siblings(siblings));
        shard.notifier.wake();
    }
}

/// A shard whose thread runs, and where it says how that went.
struct Starting {
    handle: glommio::ExecutorJoinHandle<()>,
    started: Receiver<Result<(Table, Notifier), StartError>>,
    commands: Sender<Command>,
}

/// Shards that run.
#[derive(Default)]
struct Started {
    handles: Vec<glommio::ExecutorJoinHandle<()>>,
    channels: Vec<Sibling>,
    tables: Vec<Table>,
}

/// Waits until all have their rings, or for the first that has not.
fn wait_for(starting: Vec<Starting>) -> Result<Started, StartError> {
    let mut all = Started::default();
    for Starting { handle, started, commands } in starting {
        let ended = || StartError::Thread("a shard ended as it began".to_owned());
        let (table, notifier) = started.recv().map_err(|_| ended())??;
        all.handles.push(handle);
        all.tables.push(table);
        all.channels.push(Sibling { commands, notifier });
    }
    Ok(all)
}

/// A shard's listening sockets.
struct Listeners {
    clients: TcpListener,
    tls: Option<(TcpListener, Arc<ServerConfig>)>,
}

fn start_shard(
    number: usize,
    listeners: Listeners,
    config: ShardConfig,
    rings: RingConfig,
    routers: Vec<SocketAddr>,
    clock: Clock,
) -> Result<Starting, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (commands, orders) = bounded(limits::COMMANDS_MAX);
    let (say, started) = bounded(1);
    let executor = gateway_ring::executor(Some(number % cores), &format!("shard-{number}"));
    let run = move || async move {
        let metrics = Arc::clone(&config.metrics);
        let opened = open_rings(&rings, listeners);
        let (rings, tls) = match opened {
            Ok(opened) => opened,
            Err(why) => {
                // Nobody waits any more if another shard failed first.
                let _unheard = say.send(Err(why));
                return;
            }
        };
        let _unheard = say.send(Ok((rings.table(), rings.notifier())));
        let now = Now { mono: clock.mono(), wall: clock.wall() };
        let mut shard = Shard::new(config, ops::random::seed(), now);
        shard.set_room(room::of(&rings.table()));
        ShardLoop::new(rings, shard, tls, &routers, orders, clock, metrics).run().await;
    };
    let handle = executor.spawn(run).map_err(|why| StartError::Thread(why.to_string()))?;
    Ok(Starting { handle, started, commands })
}

fn open_rings(config: &RingConfig, listeners: Listeners) -> Result<(Rings, Option<TlsDoor>), StartError> {
    let mut rings = Rings::open(config)?;
    let mut hang = |what, listener: TcpListener| {
        let address = listener.local_addr().map_err(|why| StartError::Thread(why.to_string()))?;
        rings.listen(listener).map_err(|why| StartError::Listen { what, address, why })
    };
    hang("clients", listeners.clients)?;
    let mut tls = None;
    if let Some((listener, config)) = listeners.tls {
        tls = Some(TlsDoor { door: hang("clients by TLS", listener)?, config });
    }
    Ok((rings, tls))
}

/// Each shard has room for its share of the hard limit and a quarter more, since the kernel spreads by
/// chance.
fn ring_config(gateway: &Gateway, shards: usize) -> RingConfig {
    let hard = u32::try_from(gateway.hard_limit).unwrap_or(u32::MAX);
    let share = hard.div_ceil(u32::try_from(shards).unwrap_or(u32::MAX));
    let with_spare = if shards == 1 { share } else { share.saturating_add(share / 4) };
    RingConfig {
        connections: with_spare.min(hard).saturating_add(limits::TABLE_MARGIN),
        recv_buffers: limits::RECV_BUFFERS,
        recv_buffer_bytes: limits::RECV_BUFFER_BYTES,
        sharers: u32::try_from(shards).unwrap_or(u32::MAX),
        ..RingConfig::default()
    }
}

fn admission_limits(gateway: &Gateway) -> AdmissionLimits {
    AdmissionLimits { soft: gateway.soft_limit, hard: gateway.hard_limit, accept_rate: gateway.accept_rate }
}

/// What TLS connections are made with: the certificate of the settings, and tickets that outlive it.
fn tls_config(
    gateway: &Gateway,
    resumption: Option<&Resumption>,
    clock: Clock,
) -> Result<Option<Arc<ServerConfig>>, StartError> {
    let Some((tls, resumption)) = gateway.tls.as_ref().zip(resumption) else { return Ok(None) };
    let identity = certificates::read(tls, clock.wall())?;
    Ok(Some(resumption.server_config(&identity)?))
}

fn authenticator(gateway: &Gateway, own_origins: &[String]) -> Result<Authenticator, StartError> {
    Ok(Authenticator::new(Beliefs {
        keys: read_keys(&gateway.auth)?,
        audience: gateway.auth.audience.as_deref(),
        origins: &gateway.origins(own_origins),
        own_origins,
        local_user: gateway.local_user(),
    }))
}

/// Reads every file that the settings name, as a start would.
pub fn check_files(gateway: &Gateway) -> Result<(), StartError> {
    read_keys(&gateway.auth)?;
    let resumption = gateway.tls.as_ref().map(|_| Resumption::new()).transpose()?;
    tls_config(gateway, resumption.as_ref(), Clock::start()).map(drop)
}

fn read_keys(auth: &crate::config::Auth) -> Result<KeySet, StartError> {
    if let Some(file) = &auth.jwks {
        let content = read_key_file(file)?;
        return KeySet::from_jwks(&content).map_err(|why| StartError::Key { file: file.clone(), why });
    }
    let mut keys = KeySet::default();
    for file in &auth.keys {
        let content = read_key_file(file)?;
        keys.add_file(&content).map_err(|why| StartError::Key { file: file.clone(), why })?;
    }
    Ok(keys)
}

fn read_key_file(file: &Path) -> Result<Vec<u8>, StartError> {
    use std::io::Read;
    let fault = |why| StartError::KeyFile { file: file.to_owned(), why };
    let mut content = Vec::new();
    let opened = std::fs::File::open(file).map_err(fault)?;
    opened.take(limits::KEY_FILE_BYTES_MAX).read_to_end(&mut content).map_err(fault)?;
    Ok(content)
}

/// The node's name: configured, or the host's.
fn node_name(gateway: &Gateway) -> String {
    if !gateway.node.is_empty() {
        return gateway.node.clone();
    }
    crate::auth::checked_name(&ops::host::name()).unwrap_or_else(|| "gateway".to_owned())
}

/// Finds the routers that a gateway is configured to link to.
pub fn resolve_routers(names: &[String]) -> Result<Vec<SocketAddr>, StartError> {
    let resolve = |name: &String| {
        let fault = |why| StartError::Router { name: name.clone(), why };
        let found = name.to_socket_addrs().map_err(fault)?.next();
        let nothing = || fault(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"));
        let address = found.ok_or_else(nothing)?;
        if address.ip().is_loopback() { Ok(address) } else { Err(StartError::RouterElsewhere(name.clone())) }
    };
    names.iter().map(resolve).collect()
}

impl Control {
    /// Begins to leave. A second call changes nothing.
    pub fn drain(&self, kind: DrainKind) {
        self.admission.start_draining();
        self.tell(|| Command::Drain(kind));
    }

    /// Ends a drain's window now.
    pub fn hurry(&self) {
        self.tell(|| Command::Hurry);
    }

    /// Takes keys, origins, limits, budgets and the TLS certificate over from new settings. What cannot change
    /// without a restart (listeners, shards, node, links) stays. An error changes nothing.
    pub fn reload(&self, gateway: &Gateway) -> Result<(), StartError> {
        gateway.check()?;
        let authenticator = Arc::new(authenticator(gateway, &self.own_origins)?);
        let tls = tls_config(gateway, self.resumption.as_ref(), self.clock)?;
        let settings = Settings::from(gateway);
        room::settle(&self.admission, gateway, self.room);
        self.tell(|| Command::Reload {
            authenticator: Arc::clone(&authenticator),
            settings: Box::new(settings.clone()),
            tls: tls.clone(),
        });
        Ok(())
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for Sibling { commands, notifier } in &self.shards {
            // Closed: it has ended. Full: it has not read thousands, and is beyond being told.
            let _unheard = commands.try_send(command());
            notifier.wake();
        }
    }
}

impl RunningNode {
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Ends at once: sockets are closed without a word.
    pub fn stop(self) {
        self.control.tell(|| Command::Stop);
        self.wait();
    }

    /// Waits until every shard has ended: after a drain.
    pub fn wait(self) {
        for shard in self.shards {
            if let Err(why) = shard.join() {
                tracing::error!(%why, "a shard ended in disorder");
            }
        }
    }
}
