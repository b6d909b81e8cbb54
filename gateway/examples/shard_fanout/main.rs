//! F of the gateway: CPU-ns a message of the best bare loop on the same sockets ÷ the whole shard's (link, frames, registry, sweep,
//! outboxes, rings), in turns. The clients are a child process of this program.
//!
//! `cargo run --release -p gateway --example shard_fanout -- [CONNS [BYTES [BURST [MESSAGES [REPEATS]]]]]`
//!
//! A message is a WebSocket frame of BYTES bytes. With a BURST of 1 every socket is sent one message at a time; otherwise BURST
//! notifications come at once, which the shard coalesces and the bare loops send one by one. The last line of output is JSON.

#![expect(clippy::unwrap_used, reason = "a panic is how a bench reports")]

#[path = "../../ring/examples/fanout/bare.rs"]
mod bare;
#[path = "../../ring/examples/fanout/clients.rs"]
mod clients;
#[path = "../../ring/examples/fanout/machine.rs"]
#[expect(dead_code, reason = "the ring's bench measures memory, too")]
mod machine;
mod router;
mod shard;

use bytes::Bytes;

use crate::bare::{Batches, send_loop};
use crate::clients::Clients;
use crate::machine::{Meter, median};
use crate::router::Router;

pub const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// Sockets up to which descriptors are kept for `send(2)`.
const DESCRIPTORS_MAX: usize = 15_000;
const USAGE: &str = "usage: shard_fanout [CONNS [BYTES [BURST [MESSAGES [REPEATS]]]]]";

struct Plan {
    conns: usize,
    bytes: usize,
    burst: usize,
    messages: usize,
    repeats: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "clients") {
        return clients::run(&arguments[1..]);
    }
    let number = |index: usize, default: usize, range: std::ops::RangeInclusive<usize>| {
        let Some(text) = arguments.get(index) else { return default };
        text.parse().ok().filter(|number| range.contains(number)).unwrap_or_else(|| {
            eprintln!("{text} is not in {range:?}\n{USAGE}");
            std::process::exit(2)
        })
    };
    run(&Plan {
        conns: number(0, 1_000, 1..=1_000_000),
        bytes: number(1, 64, 16..=1 << 16),
        burst: number(2, 1, 1..=64),
        messages: number(3, 200_000, 1..=100_000_000),
        repeats: number(4, 9, 1..=1_001),
    });
}

/// The one set of sockets, in all three forms.
struct Server {
    sockets: Vec<std::net::TcpStream>,
    batches: Batches,
    router: Router,
    /// The shard's thread, for its CPU time.
    thread: String,
}

fn start(plan: &Plan) -> (Server, Clients) {
    gateway_ring::raise_nofile().expect("limits can be read");
    let listener = gateway_ring::bind("127.0.0.1:0".parse().unwrap(), 65_535, false).expect("bind");
    let address = listener.local_addr().unwrap();
    let mut clients = Clients::start(address, plan.conns, CLIENT_CORE);
    let links = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let shard = shard::start(plan.conns, links.local_addr().unwrap());
    let (mut batches, mut sockets) = (Batches::new(), Vec::new());
    for _ in 0..plan.conns {
        let (socket, _) = listener.accept().expect("accept");
        socket.set_nodelay(true).expect("nodelay");
        batches.add(&socket);
        let socket = shard.adopt(socket);
        if plan.conns <= DESCRIPTORS_MAX {
            sockets.push(socket);
        }
    }
    let shard::Running { thread, greeted_bytes } = shard.run();
    clients.read(greeted_bytes);
    let router = Router::greet(&links);
    (Server { sockets, batches, router, thread }, clients)
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    SendLoop,
    Batches,
    Shard,
}

/// CPU-ns a message: the sender's thread with ksoftirqd, and the whole core. Every way in the same rhythm: a message (or a burst)
/// to everybody, then wait until everybody has it.
fn measure(server: &mut Server, clients: &mut Clients, plan: &Plan, way: Way) -> (f64, f64) {
    let each = plan.conns * plan.burst;
    let rounds = plan.messages.div_ceil(each);
    let frame = Bytes::from(vec![b'x'; plan.bytes]);
    // The router is elsewhere; a bare loop is this thread.
    machine::pin(if way == Way::Shard { CLIENT_CORE } else { SERVER_CORE });
    let thread = if way == Way::Shard { server.thread.clone() } else { machine::this_thread() };
    let mut meter = Meter::of(thread, SERVER_CORE);
    for _ in 0..rounds {
        match way {
            Way::SendLoop => send_loop(&server.sockets, &frame, plan.burst),
            Way::Batches => server.batches.send(&frame, plan.burst),
            Way::Shard => server.router.broadcast(plan.bytes, plan.burst, plan.conns),
        }
        clients.read((each * plan.bytes) as u64);
    }
    let spent = meter.look();
    let messages = (rounds * each) as f64;
    (spent.own_ns as f64 / messages, spent.core_ns as f64 / messages)
}

fn run(plan: &Plan) {
    println!("{}", machine::describe());
    println!(
        "{} sockets, {} bytes, {} a socket at a time, {} messages a measurement, {} repeats; server on core \
         {SERVER_CORE}, clients on core {CLIENT_CORE}; CPU = thread (user + system + softirq on top) + ksoftirqd",
        plan.conns, plan.bytes, plan.burst, plan.messages, plan.repeats
    );
    machine::pin(SERVER_CORE);
    let (mut server, mut clients) = start(plan);
    let mut ways = vec![Way::SendLoop, Way::Batches, Way::Shard];
    if server.sockets.is_empty() {
        ways.remove(0);
    }
    for &way in &ways {
        measure(&mut server, &mut clients, plan, way);
    }
    let (mut by_way, mut ratios, mut busy) = (vec![Vec::new(); ways.len()], Vec::new(), Vec::new());
    for repeat in 0..plan.repeats {
        let mut own = vec![0.0; ways.len()];
        for step in 0..ways.len() {
            // Another one begins each time.
            let index = (repeat + step) % ways.len();
            let (own_ns, core_ns) = measure(&mut server, &mut clients, plan, ways[index]);
            own[index] = own_ns;
            if ways[index] == Way::Shard {
                busy.push(core_ns);
            }
        }
        let floor = own[..own.len() - 1].iter().copied().fold(f64::INFINITY, f64::min);
        ratios.push(floor / own[own.len() - 1]);
        for (values, own) in by_way.iter_mut().zip(&own) {
            values.push(*own);
        }
    }
    report(plan, &mut by_way, &mut ratios, median(&mut busy));
    drop(server);
    clients.end();
    std::process::exit(0);
}

fn report(plan: &Plan, by_way: &mut [Vec<f64>], ratios: &mut [f64], busy: f64) {
    let medians: Vec<f64> = by_way.iter_mut().map(|values| median(values)).collect();
    let (batches, shard) = (medians[medians.len() - 2], medians[medians.len() - 1]);
    let send_loop = if medians.len() == 3 { format!("{:.0}", medians[0]) } else { "null".to_owned() };
    let (ratio, spread) = (median(ratios), (ratios[0], ratios[ratios.len() - 1]));
    println!(
        "CPU-ns a message, medians: send(2) {send_loop}, io_uring batches {batches:.0}, shard {shard:.0}"
    );
    println!("F = {ratio:.3} (paired; {:.3} to {:.3})", spread.0, spread.1);
    println!(
        r#"{{"bench":"gateway.fanout","machine":"{}","conns":{},"bytes":{},"burst":{},"repeats":{},"send_ns":{send_loop},"batches_ns":{batches:.0},"shard_ns":{shard:.0},"core_busy_ns":{busy:.0},"f":{ratio:.3}}}"#,
        machine::describe(),
        plan.conns,
        plan.bytes,
        plan.burst,
        plan.repeats
    );
}
