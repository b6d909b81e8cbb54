//! What the way of sleeping costs: the same echo shard asleep in glommio and asleep in poll(2), and what a mass close costs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_ring::{Conn, Event, RingConfig, Rings, bind, executor};

use crate::clients::{Clients, source};
use crate::machine::{self, Meter, median};

const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
const MESSAGE: [u8; 64] = [b'x'; 64];
/// One measurement.
const MEASURE: Duration = Duration::from_secs(2);
const REPEATS: usize = 5;

#[derive(Clone, Copy, PartialEq)]
enum Sleep {
    Glommio,
    Poll,
}

/// CPU-ns an echo, echoes a second, and CPU-ns a close.
struct Measured {
    echo_ns: f64,
    rate: f64,
    close_ns: f64,
}

pub fn run(conns: usize, active: usize) {
    println!("{}\n{conns} connections, {active} of them busy, 64 B, {REPEATS} repeats", machine::describe());
    let mut all: [Vec<Measured>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..REPEATS {
        for (sleep, measured) in [Sleep::Glommio, Sleep::Poll].into_iter().zip(&mut all) {
            measured.push(measure(sleep, conns, active.min(conns)));
        }
    }
    let of = |all: &[Measured], what: fn(&Measured) -> f64| {
        median(&mut all.iter().map(what).collect::<Vec<f64>>())
    };
    let [glommio, poll] = &all;
    let (glommio_ns, poll_ns) = (of(glommio, |m| m.echo_ns), of(poll, |m| m.echo_ns));
    let (glommio_rate, poll_rate) = (of(glommio, |m| m.rate), of(poll, |m| m.rate));
    let close_ns = of(poll, |m| m.close_ns);
    println!(
        "an echo: glommio {glommio_ns:.0} ns, {glommio_rate:.0}/s; poll(2) {poll_ns:.0} ns, {poll_rate:.0}/s"
    );
    println!("a close: {close_ns:.0} ns");
    println!(
        r#"{{"bench":"ring.echo","machine":"{}","conns":{conns},"active":{active},"glommio_ns":{glommio_ns:.0},"poll_ns":{poll_ns:.0},"glommio_per_s":{glommio_rate:.0},"poll_per_s":{poll_rate:.0},"close_ns":{close_ns:.0}}}"#,
        machine::describe()
    );
}

fn measure(sleep: Sleep, conns: usize, active: usize) -> Measured {
    let shard = move || async move { serve(sleep, conns, active).await };
    match sleep {
        Sleep::Glommio => {
            let thread = executor(Some(SERVER_CORE), "echo").spawn(shard).expect("an executor");
            thread.join().expect("the shard ends")
        }
        Sleep::Poll => {
            let thread = std::thread::spawn(move || {
                machine::pin(SERVER_CORE);
                futures_lite::future::block_on(shard())
            });
            thread.join().expect("the shard ends")
        }
    }
}

struct Echo {
    rings: Rings,
    sleep: Sleep,
    live: Vec<Conn>,
    replies: Vec<(Conn, Bytes)>,
    echoed: u64,
}

impl Echo {
    async fn step(&mut self) {
        let Echo { rings, live, replies, echoed, .. } = self;
        let events = rings.turn(&mut |event| match event {
            Event::Accepted { conn, .. } => live.push(conn),
            Event::Received { conn, data } => replies.push((conn, Bytes::copy_from_slice(data))),
            Event::Sent { .. } => *echoed += 1,
            _ => {}
        });
        for (conn, bytes) in replies.drain(..) {
            rings.send(conn, &mut std::iter::once(bytes));
        }
        match (events, self.sleep) {
            (0, Sleep::Glommio) => self.rings.wait(Duration::from_millis(100)).await,
            (0, Sleep::Poll) => self.rings.wait_blocking(Duration::from_millis(100)),
            (_, Sleep::Glommio) => self.rings.give_way().await,
            (_, Sleep::Poll) => {}
        }
    }
}

async fn serve(sleep: Sleep, conns: usize, active: usize) -> Measured {
    let listener = bind("127.0.0.1:0".parse().expect("an address"), 65_535, false).expect("bind");
    let address = listener.local_addr().expect("bound");
    let config = RingConfig { connections: conns as u32, ..RingConfig::default() };
    let mut rings = Rings::open(&config).expect("rings");
    rings.listen(listener).expect("listen");
    let clients = Clients::start_as("pingers", address, &[conns, active, CLIENT_CORE]);
    let mut echo = Echo { rings, sleep, live: Vec::new(), replies: Vec::new(), echoed: 0 };
    while echo.live.len() < conns || echo.echoed < 10_000 {
        echo.step().await;
    }
    let (start, before) = (Instant::now(), echo.echoed);
    let mut meter = Meter::start(SERVER_CORE);
    while start.elapsed() < MEASURE {
        echo.step().await;
    }
    let (echoes, spent) = ((echo.echoed - before) as f64, meter.look());
    let rate = echoes / start.elapsed().as_secs_f64();
    meter.look();
    for &conn in &echo.live {
        echo.rings.close_hard(conn);
    }
    while echo.rings.table().live > 0 {
        echo.rings.turn(&mut |_| {});
    }
    let closing = meter.look();
    drop(echo);
    clients.end();
    Measured { echo_ns: spent.own_ns as f64 / echoes, rate, close_ns: closing.own_ns as f64 / conns as f64 }
}

/// The child: `pingers ADDRESS CONNS ACTIVE CORE`. Ends when its standard input does.
pub fn pingers(arguments: &[String]) {
    let to: SocketAddr = arguments[0].parse().expect("an address");
    let [conns, active, core] =
        [1, 2, 3].map(|index: usize| arguments[index].parse::<usize>().expect("a number"));
    machine::pin(core);
    std::thread::spawn(|| {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        std::process::exit(0);
    });
    let mut rings =
        Rings::open(&RingConfig { connections: conns as u32, ..RingConfig::default() }).expect("rings");
    let (mut begun, mut up, mut next) = (0, 0, Vec::new());
    loop {
        while begun < conns && begun - up < 256 {
            rings.connect(Some(source(begun)), to).expect("connect");
            begun += 1;
        }
        let events = rings.turn(&mut |event| match event {
            Event::Connected { conn } => {
                up += 1;
                if up <= active {
                    next.push(conn);
                }
            }
            Event::Received { conn, data } => {
                assert_eq!(data.len(), MESSAGE.len(), "an echo is small enough to come whole");
                next.push(conn);
            }
            _ => {}
        });
        if up == conns {
            for conn in next.drain(..) {
                rings.send(conn, &mut std::iter::once(Bytes::from_static(&MESSAGE)));
            }
        }
        if events == 0 {
            rings.wait_blocking(Duration::from_secs(1));
        }
    }
}
