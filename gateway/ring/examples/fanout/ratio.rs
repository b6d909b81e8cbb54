//! F: the same sockets served by `send(2)`, by batched io_uring and by the rings, in turns.

use bytes::Bytes;
use gateway_ring::{Conn, Event, FRAMES_PER_SEND_MAX, RingConfig, Rings, SendOutcome, bind, raise_nofile};

use crate::bare::{Batches, send_loop};
use crate::clients::Clients;
use crate::machine::{self, Meter, Spent, median};

const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// Sockets up to which descriptors are kept for `send(2)`.
const DESCRIPTORS_MAX: usize = 15_000;
/// Sends queued between two turns: what a shard does in one chunk of a fan-out.
const CHUNK: usize = 1_024;
/// Bytes under way before the clients are waited for: less than the smallest socket buffer.
const AHEAD_BYTES_MAX: usize = 32 << 10;

pub struct Plan {
    pub conns: usize,
    pub bytes: usize,
    /// Messages that each socket is owed at a time. The rings coalesce them, the bare loops send one by one.
    pub burst: usize,
    /// Messages in one measurement.
    pub messages: usize,
    pub repeats: usize,
}

/// The one set of sockets, in all three forms.
struct Server {
    sockets: Vec<std::net::TcpStream>,
    batches: Batches,
    rings: Rings,
    conns: Vec<Conn>,
}

fn accept_all(plan: &Plan) -> (Server, Clients) {
    raise_nofile().expect("limits can be read");
    let listener = bind("127.0.0.1:0".parse().expect("an address"), 65_535, false).expect("bind");
    let clients = Clients::start(listener.local_addr().expect("bound"), plan.conns, CLIENT_CORE);
    let config = RingConfig { connections: plan.conns as u32, ..RingConfig::default() };
    let mut rings = Rings::open(&config).unwrap_or_else(|error| panic!("{error}"));
    println!("rings: {}", rings.table());
    let mut server = Server {
        sockets: Vec::new(),
        batches: Batches::new(),
        conns: Vec::new(),
        rings: {
            rings.turn(&mut |_| {});
            rings
        },
    };
    for _ in 0..plan.conns {
        let (socket, _) = listener.accept().expect("accept");
        socket.set_nodelay(true).expect("nodelay");
        server.batches.add(&socket);
        server.conns.push(server.rings.adopt(&socket).expect("adopt"));
        if plan.conns <= DESCRIPTORS_MAX {
            server.sockets.push(socket);
        }
    }
    while server.rings.turn(&mut |_| {}) > 0 {}
    (server, clients)
}

impl Server {
    /// One message (or one burst) to everybody through the rings, to the last `Sent`.
    fn fan_out(&mut self, frame: &Bytes, burst: usize) {
        let mut left = self.conns.len();
        let mut sent = |event: Event<'_>| match event {
            Event::Sent { .. } => left -= 1,
            Event::SendFailed { error, .. } => panic!("send: {error}"),
            _ => {}
        };
        for chunk in self.conns.chunks(CHUNK) {
            for &conn in chunk {
                let outcome = self.rings.send(conn, &mut std::iter::repeat_n(frame, burst).cloned());
                debug_assert!(matches!(outcome, SendOutcome::Sending { .. }));
            }
            self.rings.turn(&mut sent);
        }
        while self.rings.turn(&mut sent) > 0 {}
        assert_eq!(left, 0, "every send completed at once");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    SendLoop,
    Batches,
    Rings,
}

/// Sends `plan.messages` in one way; CPU spent, without the waits for the clients.
fn measure(server: &mut Server, clients: &mut Clients, plan: &Plan, frame: &Bytes, way: Way) -> (f64, f64) {
    let each = plan.conns * plan.burst;
    let rounds = plan.messages.div_ceil(each);
    let ahead = (AHEAD_BYTES_MAX / (plan.bytes * plan.burst)).clamp(1, rounds);
    let mut total = Spent { own_ns: 0, core_ns: 0 };
    let mut left = rounds;
    let mut meter = Meter::start(SERVER_CORE);
    while left > 0 {
        let now = ahead.min(left);
        meter.look();
        for _ in 0..now {
            match way {
                Way::SendLoop => send_loop(&server.sockets, frame, plan.burst),
                Way::Batches => server.batches.send(frame, plan.burst),
                Way::Rings => server.fan_out(frame, plan.burst),
            }
        }
        let spent = meter.look();
        total.own_ns += spent.own_ns;
        total.core_ns += spent.core_ns;
        clients.read((now * each * plan.bytes) as u64);
        left -= now;
    }
    let messages = (rounds * each) as f64;
    (total.own_ns as f64 / messages, total.core_ns as f64 / messages)
}

pub fn run(plan: &Plan) {
    assert!(plan.burst <= FRAMES_PER_SEND_MAX, "a burst is one send");
    println!("{}", machine::describe());
    println!(
        "{} sockets, {} bytes, {} a socket at a time, {} messages a measurement, {} repeats; server on core \
         {SERVER_CORE}, clients on core {CLIENT_CORE}; CPU = thread (user + system + softirq on top) + ksoftirqd",
        plan.conns, plan.bytes, plan.burst, plan.messages, plan.repeats
    );
    machine::pin(SERVER_CORE);
    let (mut server, mut clients) = accept_all(plan);
    let frame = Bytes::from(vec![b'x'; plan.bytes]);
    let ways: &[Way] = if server.sockets.is_empty() {
        &[Way::Batches, Way::Rings]
    } else {
        &[Way::SendLoop, Way::Batches, Way::Rings]
    };
    for &way in ways {
        measure(&mut server, &mut clients, plan, &frame, way);
    }
    let (mut by_way, mut ratios, mut busy) = (vec![Vec::new(); ways.len()], Vec::new(), Vec::new());
    for repeat in 0..plan.repeats {
        let mut own = vec![0.0; ways.len()];
        for step in 0..ways.len() {
            // Another one begins each time.
            let index = (repeat + step) % ways.len();
            let (own_ns, core_ns) = measure(&mut server, &mut clients, plan, &frame, ways[index]);
            own[index] = own_ns;
            if ways[index] == Way::Rings {
                busy.push(core_ns);
            }
        }
        let floor = own[..own.len() - 1].iter().copied().fold(f64::INFINITY, f64::min);
        ratios.push(floor / own[own.len() - 1]);
        for (values, own) in by_way.iter_mut().zip(&own) {
            values.push(*own);
        }
    }
    let medians: Vec<f64> = by_way.iter_mut().map(|values| median(values)).collect();
    let send_loop = if ways.len() == 3 { medians[0] } else { f64::NAN };
    let (batches, rings) = (medians[medians.len() - 2], medians[medians.len() - 1]);
    let (ratio, spread) = (median(&mut ratios), (ratios[0], ratios[ratios.len() - 1]));
    println!(
        "CPU-ns a message, medians: send(2) {send_loop:.0}, io_uring batches {batches:.0}, rings {rings:.0}"
    );
    println!("F = {ratio:.3} (paired; {:.3} to {:.3})", spread.0, spread.1);
    println!("{:?}", server.rings.stats());
    let send_loop = if send_loop.is_nan() { "null".to_string() } else { format!("{send_loop:.0}") };
    println!(
        r#"{{"bench":"ring.fanout","machine":"{}","conns":{},"bytes":{},"burst":{},"repeats":{},"send_ns":{send_loop},"batches_ns":{batches:.0},"rings_ns":{rings:.0},"rings_core_busy_ns":{:.0},"f":{ratio:.3}}}"#,
        machine::describe(),
        plan.conns,
        plan.bytes,
        plan.burst,
        plan.repeats,
        median(&mut busy)
    );
    drop(server);
    clients.end();
}
