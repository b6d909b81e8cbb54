//! However busy the sockets, the caller gets his thread back: his timers live in the same loop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gateway_ring::{RingConfig, executor};

use crate::support::{Side, small};

/// Generous: a debug build on a shared machine. The promise is "bounded", not "fast".
const TURN_MAX: Duration = Duration::from_millis(250);
const FLOOD: Duration = Duration::from_secs(2);
const FLOODERS: usize = 3;

/// Clients that write as fast as they can until told to stop.
fn flood(address: std::net::SocketAddr, stop: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<()>> {
    let flooder = |_| {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            let mut sockets: Vec<TcpStream> =
                (0..20).map(|_| TcpStream::connect(address).expect("connect")).collect();
            for socket in &sockets {
                socket.set_write_timeout(Some(Duration::from_millis(50))).expect("timeout");
            }
            while !stop.load(Ordering::Relaxed) {
                for socket in &mut sockets {
                    // A full window times out: that is pressure, too.
                    let _ = socket.write(&[7; 16_384]);
                }
            }
        })
    };
    (0..FLOODERS).map(flooder).collect()
}

#[test]
fn the_loop_regains_control_within_a_bound_while_saturated() {
    let (mut server, address) = Side::listening(&RingConfig { turn_completions: 256, ..small(2, 64) });
    let stop = Arc::new(AtomicBool::new(false));
    let flooders = flood(address, &stop);
    let (start, mut worst, mut turns) = (Instant::now(), Duration::ZERO, 0u64);
    while start.elapsed() < FLOOD {
        let turn = Instant::now();
        let events = server.turn();
        worst = worst.max(turn.elapsed());
        turns += 1;
        for seen in server.seen.values_mut() {
            seen.bytes.clear();
        }
        server.fresh.clear();
        if events == 0 {
            server.rings.wait_blocking(Duration::from_millis(1));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let stats = server.rings.stats();
    println!("{turns} turns, worst {worst:?}, {stats:?}");
    drop(server);
    for flooder in flooders {
        flooder.join().expect("flooders do not panic");
    }
    assert!(worst < TURN_MAX, "the worst turn took {worst:?}");
    assert!(stats.bytes_received > 10 << 20, "it was a flood: {} bytes", stats.bytes_received);
}

#[test]
fn another_task_of_the_executor_runs_while_the_rings_are_saturated() {
    let (address_tx, address_rx) = std::sync::mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let shard = executor(None, "fair").spawn(move || async move {
        let (mut server, address) = Side::listening(&small(1, 64));
        address_tx.send(address).expect("the test waits");
        let beats = std::rc::Rc::new(std::cell::Cell::new(0u32));
        let counting = std::rc::Rc::clone(&beats);
        let beat = glommio::spawn_local(async move {
            loop {
                glommio::timer::sleep(Duration::from_millis(10)).await;
                counting.set(counting.get() + 1);
            }
        });
        let start = Instant::now();
        while start.elapsed() < FLOOD {
            let events = server.turn();
            server.fresh.clear();
            for seen in server.seen.values_mut() {
                seen.bytes.clear();
            }
            if events == 0 {
                server.rings.wait(Duration::from_millis(5)).await;
            } else {
                server.rings.give_way().await;
            }
        }
        beat.cancel().await;
        (beats.get(), server.rings.stats())
    });
    let shard = shard.expect("an executor");
    let address = address_rx.recv().expect("it listens");
    let flooders = flood(address, &stop);
    let (beats, stats) = shard.join().expect("the shard ends");
    stop.store(true, Ordering::Relaxed);
    println!("{beats} beats of 10 ms in 2 s, {stats:?}");
    for flooder in flooders {
        flooder.join().expect("flooders do not panic");
    }
    assert!(beats >= 20, "the other task ran {beats} times in two seconds");
    // A read on a closed server only fails; nothing hangs.
    assert!(TcpStream::connect(address).and_then(|mut socket| socket.read(&mut [0; 1])).is_err());
}
