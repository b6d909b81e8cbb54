//! The clients: connections that read whatever comes, in a process of their own, told and asked over its standard streams.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_ring::{Event, RingConfig, Rings};

use crate::machine;

/// Connections from one source address. Beyond half of the local port range (28,232 by default) the kernel searches long for
/// a free port: 3,000 connects a second instead of 40,000.
const PER_SOURCE: usize = 10_000;
/// Connects that may be unanswered at one time.
const CONNECTING_MAX: usize = 256;

/// The child process, seen from the measuring side.
pub struct Clients {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    expected: u64,
}

impl Clients {
    /// Starts a child that connects `conns` times to `to` and reads.
    pub fn start(to: SocketAddr, conns: usize, core: usize) -> Clients {
        Clients::start_as("clients", to, &[conns, core])
    }

    /// Starts a child in another role.
    pub fn start_as(role: &str, to: SocketAddr, numbers: &[usize]) -> Clients {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args([role, &to.to_string()])
            .args(numbers.iter().map(ToString::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let orders = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Clients { child, orders, answers, expected: 0 }
    }

    /// Waits until the clients have read `bytes` more.
    pub fn read(&mut self, bytes: u64) {
        self.expected += bytes;
        writeln!(self.orders, "{}", self.expected).expect("the child listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the child answers");
        assert_eq!(line.trim(), self.expected.to_string(), "the child ended early");
    }

    pub fn end(mut self) {
        drop(self.orders);
        self.child.wait().expect("the child ends");
    }
}

/// The source address of the client's connection number `index`.
pub fn source(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1 + (index / PER_SOURCE) as u8))
}

/// The child: `clients ADDRESS CONNS CORE`. Ends when its standard input does.
pub fn run(arguments: &[String]) {
    let to: SocketAddr = arguments[0].parse().expect("an address");
    let conns: usize = arguments[1].parse().expect("a number");
    machine::pin(arguments[2].parse().expect("a core"));
    let mut rings =
        Rings::open(&RingConfig { connections: conns as u32, ..RingConfig::default() }).expect("rings");
    assert!(rings.table().capacity as usize >= conns, "{}", rings.table());
    let wanted = Arc::new(AtomicU64::new(0));
    let notifier = rings.notifier();
    let orders = Arc::clone(&wanted);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            orders.store(line.trim().parse().expect("a number"), Ordering::SeqCst);
            notifier.wake();
        }
        std::process::exit(0);
    });
    let (mut begun, mut up, mut answered) = (0, 0, 0);
    loop {
        while begun < conns && begun - up < CONNECTING_MAX {
            rings.connect(Some(source(begun)), to).expect("connect");
            begun += 1;
        }
        let events = rings.turn(&mut |event| match event {
            Event::Connected { .. } => up += 1,
            Event::ConnectFailed { error, .. } => panic!("connect: {error}"),
            _ => {}
        });
        let (want, got) = (wanted.load(Ordering::SeqCst), rings.stats().bytes_received);
        if want > answered && got >= want {
            println!("{want}");
            answered = want;
        }
        if events == 0 {
            rings.wait_blocking(Duration::from_secs(1));
        }
    }
}
