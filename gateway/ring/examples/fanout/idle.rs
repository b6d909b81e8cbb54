//! Bytes of an idle connection: the same clients on a bare accepted socket and on the rings, each held by a fresh process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gateway_ring::{RingConfig, Rings, bind, raise_nofile};
use socket2::SockRef;

use crate::clients::Clients;
use crate::machine::{self, median};

const REPEATS: usize = 5;
/// Descriptors that a bare holder can have under a limit of 20,000.
const BARE_MAX: usize = 15_000;
const CLIENT_CORE: usize = 1;
/// Accepts, polls and the slab's own housekeeping are over by then.
const SETTLE: Duration = Duration::from_millis(700);

/// Measured on one holder, all connections up.
struct Held {
    rss: f64,
    slab: f64,
    seconds: f64,
}

pub fn run(conns: usize) {
    if conns > BARE_MAX {
        return alone(conns);
    }
    println!("{}\n{conns} idle connections, {REPEATS} interleaved repeats, medians", machine::describe());
    let (mut rss, mut slab, mut bare_slab, mut rates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut bare_rss, mut rings_slab) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let (bare, rings) = (hold_with_clients("bare", conns), hold_with_clients("rings", conns));
        rss.push(rings.rss - bare.rss);
        slab.push(rings.slab - bare.slab);
        bare_slab.push(bare.slab);
        bare_rss.push(bare.rss);
        rings_slab.push(rings.slab);
        rates.push(conns as f64 / rings.seconds);
    }
    let [rss, slab, bare_slab, bare_rss, rings_slab, rate] =
        [&mut rss, &mut slab, &mut bare_slab, &mut bare_rss, &mut rings_slab, &mut rates]
            .map(|values| median(values));
    println!("bare accepted socket, with its client's: slab {bare_slab:.0} B, RSS {bare_rss:.0} B");
    println!("rings, with its client's: slab {rings_slab:.0} B");
    println!("over the bare socket: RSS {rss:.0} B, slab {slab:.0} B a connection; made at {rate:.0}/s");
    println!(
        r#"{{"bench":"ring.idle","machine":"{}","conns":{conns},"repeats":{REPEATS},"rss_over_bare":{rss:.0},"slab_over_bare":{slab:.0},"bare_slab_both_ends":{bare_slab:.0},"connections_per_s":{rate:.0}}}"#,
        machine::describe()
    );
}

/// More than a process may have descriptors: there is no bare side to compare with.
fn alone(conns: usize) {
    let Held { rss, slab, seconds } = hold_with_clients("rings", conns);
    let rate = conns as f64 / seconds;
    println!("{}", machine::describe());
    println!(
        "{conns} held: RSS {rss:.0} B, slab with the client's {slab:.0} B a connection; made at {rate:.0}/s"
    );
    println!(
        r#"{{"bench":"ring.held","machine":"{}","conns":{conns},"rss":{rss:.0},"slab_both_ends":{slab:.0},"connections_per_s":{rate:.0}}}"#,
        machine::describe()
    );
}

/// A fresh holder and fresh clients; bytes a connection.
fn hold_with_clients(how: &str, conns: usize) -> Held {
    let program = std::env::current_exe().expect("this program has a path");
    let mut holder = Command::new(program)
        .args(["hold", how, &conns.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be started again");
    let mut lines = BufReader::new(holder.stdout.take().expect("piped")).lines();
    let mut line = || lines.next().expect("the holder speaks").expect("text");
    let address: SocketAddr = line().parse().expect("an address");
    machine::settle();
    let slab = machine::slab_bytes();
    let clients = Clients::start(address, conns, CLIENT_CORE);
    let seconds: f64 = line().parse().expect("seconds");
    let rss: f64 = line().parse().expect("bytes");
    machine::settle();
    let slab = machine::slab_bytes() - slab;
    drop(holder.stdin.take());
    holder.wait().expect("the holder ends");
    clients.end();
    Held { rss: rss / conns as f64, slab: slab as f64 / conns as f64, seconds }
}

/// The holder: `hold bare|rings CONNS`. Says its address, the time it took and its growth; ends with its standard input.
pub fn hold(arguments: &[String]) {
    machine::pin(0);
    raise_nofile().expect("limits can be read");
    let conns: usize = arguments[1].parse().expect("a number");
    let listener = bind("127.0.0.1:0".parse().expect("an address"), 65_535, false).expect("bind");
    // Accepted sockets inherit it: they end with a reset, and leave no TIME_WAIT behind for the next measurement.
    SockRef::from(&listener).set_linger(Some(Duration::ZERO)).expect("linger");
    let address = listener.local_addr().expect("bound");
    let mut end = String::new();
    if arguments[0] == "bare" {
        let mut sockets = Vec::with_capacity(conns);
        println!("{address}");
        let before = machine::rss_bytes();
        let mut start = None;
        while sockets.len() < conns {
            sockets.push(listener.accept().expect("accept").0);
            start.get_or_insert_with(Instant::now);
        }
        println!("{}", start.map_or(0.0, |start| start.elapsed().as_secs_f64()));
        std::thread::sleep(SETTLE);
        println!("{}", machine::rss_bytes() - before);
        std::io::stdin().read_line(&mut end).expect("the end");
        return;
    }
    let mut rings =
        Rings::open(&RingConfig { connections: conns as u32, ..RingConfig::default() }).expect("rings");
    rings.listen(listener).expect("listen");
    println!("{address}");
    let before = machine::rss_bytes();
    let mut start = None;
    while (rings.stats().accepted as usize) < conns {
        if rings.turn(&mut |_| {}) == 0 {
            rings.wait_blocking(Duration::from_secs(1));
        } else {
            start.get_or_insert_with(Instant::now);
        }
    }
    println!("{}", start.map_or(0.0, |start| start.elapsed().as_secs_f64()));
    let settled = Instant::now();
    while settled.elapsed() < SETTLE {
        rings.turn(&mut |_| {});
        rings.wait_blocking(SETTLE);
    }
    println!("{}", machine::rss_bytes() - before);
    std::io::stdin().read_line(&mut end).expect("the end");
}
