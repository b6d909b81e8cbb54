//! The shard under test: the gateway's own loop, on sockets that were accepted outside, so that the bare loops have them, too.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use gateway::admission::{Admission, AdmissionLimits};
use gateway::auth::{Authenticator, Beliefs};
use gateway::census::Census;
use gateway::config::Gateway;
use gateway::io::shard_loop::{Command, ShardLoop};
use gateway::metrics::ShardMetrics;
use gateway::shard::{Key, Now, Output, Settings, Shard, ShardConfig};
use gateway_ring::{Conn, Event, RingConfig, Rings};
use ops::clock::Clock;

use crate::{SERVER_CORE, machine};

/// No ping disturbs a measurement.
const PING_INTERVAL: Duration = Duration::from_secs(600);

/// The shard's thread, taking sockets.
pub struct Starting {
    sockets: Sender<TcpStream>,
    adopted: Receiver<TcpStream>,
    running: Receiver<Running>,
}

/// Every client is in.
pub struct Running {
    /// The thread's `schedstat`.
    pub thread: String,
    /// What the clients were sent on the way.
    pub greeted_bytes: u64,
}

impl Starting {
    /// Lends the shard a socket: it goes on with a descriptor of its own.
    pub fn adopt(&self, socket: TcpStream) -> TcpStream {
        self.sockets.send(socket).expect("the shard's thread lives");
        self.adopted.recv().expect("the shard's thread lives")
    }

    pub fn run(self) -> Running {
        drop(self.sockets);
        self.running.recv().expect("the shard's thread lives")
    }
}

pub fn start(conns: usize, router: SocketAddr) -> Starting {
    let (sockets, to_adopt) = bounded(1);
    let (give_back, adopted) = bounded(1);
    let (say, running) = bounded(1);
    let shard = move || async move {
        let clock = Clock::start();
        let connections = conns as u32 + 64;
        let mut rings = Rings::open(&RingConfig { connections, ..RingConfig::default() }).expect("rings");
        let config = config();
        let metrics = Arc::clone(&config.metrics);
        let mut shard = Shard::new(config, 1, now(&clock));
        for (number, socket) in to_adopt.iter().enumerate() {
            let conn = rings.adopt(&socket).expect("adopt");
            give_back.send(socket).expect("the bench listens");
            let_in(&mut shard, &mut rings, conn, number, &clock);
        }
        while rings.turn(&mut |event| settle(&mut shard, &event, &clock)) > 0 {}
        let greeted_bytes = rings.stats().bytes_sent;
        say.send(Running { thread: machine::this_thread(), greeted_bytes }).expect("the bench listens");
        // Nobody gives orders: the process just ends. The sender must live, else the loop takes it for the end.
        let (_orders, commands) = bounded::<Command>(1);
        ShardLoop::new(rings, shard, None, &[router], commands, clock, metrics).run().await;
    };
    // Left alone: the process ends with the bench.
    let _thread = gateway_ring::executor(Some(SERVER_CORE), "shard").spawn(shard).expect("an executor");
    Starting { sockets, adopted, running }
}

fn now(clock: &Clock) -> Now {
    Now { mono: clock.mono(), wall: clock.wall() }
}

fn config() -> ShardConfig {
    let limits = AdmissionLimits { soft: 1 << 21, hard: 1 << 21, accept_rate: 1_000_000_000 };
    let own = Gateway::own_origins(Gateway::default().listen);
    let beliefs = Beliefs { own_origins: &own, local_user: true, ..Beliefs::default() };
    let settings = Settings { ping_interval: PING_INTERVAL, ..Settings::from(&Gateway::default()) };
    ShardConfig {
        node: "bench".to_owned(),
        shard: 0,
        boot: 1,
        routers: 1,
        admission: Arc::new(Admission::new(limits)),
        census: Arc::new(Census::new(1)),
        authenticator: Arc::new(Authenticator::new(beliefs)),
        metrics: Arc::new(ShardMetrics::default()),
        settings,
        console: None,
    }
}

/// The clients say nothing: their requests are said for them.
fn let_in(shard: &mut Shard, rings: &mut Rings, conn: Conn, number: usize, clock: &Clock) {
    let (key, at) = (Key(conn.key()), now(clock));
    shard.handle_accepted(key, SocketAddr::from(([127, 0, 0, 1], 1)), at);
    let request = format!(
        "GET /v1/connect?user=u{number} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    shard.handle_received(key, &mut request.into_bytes(), at);
    while let Some(output) = shard.poll_output() {
        let Output::Send { key } = output else { continue };
        let mut frames = shard.next_send(key).expect("it is owed its welcome");
        rings.send(Conn::from_key(key.0), &mut frames);
    }
    rings.turn(&mut |event| settle(shard, &event, clock));
}

fn settle(shard: &mut Shard, event: &Event<'_>, clock: &Clock) {
    match event {
        Event::Sent { conn } => shard.handle_sent(Key(conn.key()), now(clock)),
        other => panic!("before the measurement: {other:?}"),
    }
}
