//! A sleeping shard wakes for every client and every notifier, soon, and never misses one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_ring::{Conn, Event, Notifier, RingConfig, Rings, executor};

use crate::support::{loopback, small};

/// A lost wake-up shows as this: nothing else ends the shard's sleep before it.
const SLEEP: Duration = Duration::from_secs(20);
/// Generous for a shared machine; a sleep that only its timeout ends is a thousand times longer.
const WAKE_P99_MAX: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
enum Wait {
    Glommio,
    Blocking,
}

/// An echo shard on its own thread, which only a wake-up can move.
struct Shard {
    address: SocketAddr,
    notifier: Notifier,
    stop: Arc<AtomicBool>,
    /// Bumped by others, copied to `saw` by the shard.
    asked: Arc<AtomicU64>,
    saw: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<gateway_ring::RingStats>,
}

fn echo_turn(rings: &mut Rings, replies: &mut Vec<(Conn, Bytes)>, gone: &mut Vec<Conn>) -> usize {
    let events = rings.turn(&mut |event| match event {
        Event::Received { conn, data } => replies.push((conn, Bytes::copy_from_slice(data))),
        Event::Ended { conn, .. } => gone.push(conn),
        _ => {}
    });
    for (conn, bytes) in replies.drain(..) {
        rings.send(conn, &mut std::iter::once(bytes));
    }
    for conn in gone.drain(..) {
        rings.close(conn);
    }
    events
}

fn shard(wait: Wait) -> Shard {
    let (tx, rx) = std::sync::mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, saw) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let thread = std::thread::spawn({
        let (stop, asked, saw) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&saw));
        move || {
            let run = move || async move {
                let mut rings =
                    Rings::open(&RingConfig { sleep_max: SLEEP, ..small(3, 200) }).expect("io_uring");
                let listener = gateway_ring::bind(loopback(), 1_024, false).expect("bind");
                let address = listener.local_addr().expect("bound");
                rings.listen(listener).expect("listen");
                tx.send((address, rings.notifier())).expect("the test waits");
                let (mut replies, mut gone) = (Vec::new(), Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    saw.store(asked.load(Ordering::SeqCst), Ordering::SeqCst);
                    if echo_turn(&mut rings, &mut replies, &mut gone) > 0 {
                        if matches!(wait, Wait::Glommio) {
                            rings.give_way().await;
                        }
                        continue;
                    }
                    match wait {
                        Wait::Glommio => rings.wait(SLEEP).await,
                        Wait::Blocking => rings.wait_blocking(SLEEP),
                    }
                }
                rings.stats()
            };
            match wait {
                Wait::Glommio => {
                    executor(None, "waking").make().expect("an executor").run(async move { run().await })
                }
                Wait::Blocking => futures_lite::future::block_on(run()),
            }
        }
    });
    let (address, notifier) = rx.recv().expect("the shard is up");
    Shard { address, notifier, stop, asked, saw, thread }
}

impl Shard {
    fn end(self) -> gateway_ring::RingStats {
        self.stop.store(true, Ordering::SeqCst);
        self.notifier.wake();
        self.thread.join().expect("the shard does not panic")
    }
}

fn client(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connect");
    socket.set_nodelay(true).expect("nodelay");
    socket.set_read_timeout(Some(SLEEP / 2)).expect("a timeout");
    socket
}

fn ping(socket: &mut TcpStream, value: u64) {
    socket.write_all(&value.to_le_bytes()).expect("write");
    let mut back = [0; 8];
    socket.read_exact(&mut back).expect("an answer before half the shard's sleep: no wake-up was lost");
    assert_eq!(u64::from_le_bytes(back), value);
}

fn wakes_soon(wait: Wait) {
    let shard = shard(wait);
    let mut socket = client(shard.address);
    let mut took: Vec<Duration> = (0..300)
        .map(|value| {
            // Long enough that the shard sleeps: there is no event for "it sleeps now".
            std::thread::sleep(Duration::from_millis(2));
            let start = Instant::now();
            ping(&mut socket, value);
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    let stats = shard.end();
    println!("{wait:?}: idle → echo p50 {:?} p99 {:?} max {:?}; {stats:?}", took[150], took[297], took[299]);
    assert!(took[297] < WAKE_P99_MAX, "p99 {:?}", took[297]);
    assert!(stats.wakes >= 250, "it slept and was woken, {} times", stats.wakes);
}

#[test]
fn an_idle_shard_answers_soon_in_glommio() {
    wakes_soon(Wait::Glommio);
}

#[test]
fn an_idle_shard_answers_soon_without_glommio() {
    wakes_soon(Wait::Blocking);
}

fn loses_no_wake_up(wait: Wait) {
    const CLIENTS: usize = 4;
    const SOCKETS: usize = 40;
    const ROUNDS: u64 = 150;
    let shard = shard(wait);
    let address = shard.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            std::thread::spawn(move || {
                let mut sockets: Vec<TcpStream> = (0..SOCKETS).map(|_| client(address)).collect();
                for round in 0..ROUNDS {
                    for socket in &mut sockets {
                        ping(socket, round);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("every ping was answered");
    }
    let stats = shard.end();
    println!("{wait:?}: {stats:?}");
    assert_eq!(stats.sends, (CLIENTS * SOCKETS) as u64 * ROUNDS);
}

#[test]
fn no_wake_up_is_lost_over_many_ping_pongs_in_glommio() {
    loses_no_wake_up(Wait::Glommio);
}

#[test]
fn no_wake_up_is_lost_over_many_ping_pongs_without_glommio() {
    loses_no_wake_up(Wait::Blocking);
}

fn every_notification_is_seen(wait: Wait) {
    let shard = shard(wait);
    for count in 1..=5_000 {
        shard.asked.store(count, Ordering::SeqCst);
        shard.notifier.wake();
        let start = Instant::now();
        while shard.saw.load(Ordering::SeqCst) < count {
            assert!(start.elapsed() < SLEEP / 2, "{wait:?}: notification {count} was slept through");
            std::thread::yield_now();
        }
    }
    let stats = shard.end();
    println!("{wait:?}: {stats:?}");
}

#[test]
fn every_notification_is_seen_in_glommio() {
    every_notification_is_seen(Wait::Glommio);
}

#[test]
fn every_notification_is_seen_without_glommio() {
    every_notification_is_seen(Wait::Blocking);
}

#[test]
fn a_wait_that_times_out_does_not_swallow_the_next_signal() {
    let executor = executor(None, "timeouts").make().expect("an executor");
    executor.run(async {
        let mut rings = Rings::open(&RingConfig { sleep_max: SLEEP, ..small(1, 4) }).expect("io_uring");
        let notifier = rings.notifier();
        for round in 0..50 {
            rings.wait(Duration::from_millis(1)).await;
            let waking = notifier.clone();
            let thread = std::thread::spawn(move || waking.wake());
            let start = Instant::now();
            rings.wait(SLEEP).await;
            assert!(
                start.elapsed() < SLEEP / 2,
                "round {round}: the signal went to a read that had timed out"
            );
            thread.join().expect("woken");
        }
    });
}
