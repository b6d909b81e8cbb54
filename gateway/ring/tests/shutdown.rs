//! Dropping the rings with everything under way: no descriptor stays, no memory is held, nothing hangs, every peer learns of
//! it. A process of its own, because it counts the process's descriptors.

#![expect(clippy::disallowed_methods, reason = "a test keeps its own time")]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_ring::{Event, RingConfig, Rings, SendOutcome, bind, executor};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

fn small(rings: u16, slots: u32) -> RingConfig {
    RingConfig { rings: Some(rings), slots_per_ring: Some(slots), ..RingConfig::default() }
}

/// Live connections, armed accepts, a send that waits for its reader, a connect that waits for its peer; then the end.
fn live_and_drop(waited: &mut dyn FnMut(&mut Rings)) {
    let mut rings = Rings::open(&small(3, 40)).expect("io_uring");
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 128, false).expect("bind");
    let address = listener.local_addr().expect("bound");
    rings.listen(listener).expect("listen");
    let mut peers: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(address).expect("connect")).collect();
    let mut accepted = Vec::new();
    let start = Instant::now();
    while accepted.len() < peers.len() {
        assert!(start.elapsed() < Duration::from_secs(20), "accepts");
        rings.turn(&mut |event| {
            if let Event::Accepted { conn, .. } = event {
                accepted.push(conn);
            }
        });
        waited(&mut rings);
    }
    let hanging = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 0, false).expect("bind");
    for _ in 0..4 {
        rings.connect(None, hanging.local_addr().expect("bound")).expect("a slot");
    }
    let frame = Bytes::from(vec![7; 8 << 20]);
    for (index, &conn) in accepted.iter().enumerate() {
        let mut frames = std::iter::repeat_n(frame.clone(), 1 + index % 3);
        assert!(matches!(rings.send(conn, &mut frames), SendOutcome::Sending { .. }));
    }
    for _ in 0..5 {
        rings.turn(&mut |_| {});
    }
    // And some that the kernel has not even seen.
    for &conn in &accepted[..5] {
        rings.close(conn);
    }
    assert!(!frame.is_unique());
    let start = Instant::now();
    drop(rings);
    assert!(start.elapsed() < Duration::from_secs(5), "the drop took {:?}", start.elapsed());
    assert!(frame.is_unique(), "every frame is let go");
    for peer in &mut peers {
        peer.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        let mut rest = vec![0; 1 << 16];
        // To the end or the reset: either shows that the socket is closed. A timeout would be WouldBlock.
        let end = loop {
            match peer.read(&mut rest) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error.kind()),
            }
        };
        assert!(matches!(end, None | Some(std::io::ErrorKind::ConnectionReset)), "{end:?}");
    }
}

#[test]
fn dropping_busy_rings_leaks_no_descriptor_holds_no_frame_and_does_not_hang() {
    live_and_drop(&mut |_| {});
    let before = descriptors();
    for _ in 0..5 {
        live_and_drop(&mut |_| {});
        live_and_drop(&mut |rings| rings.wait_blocking(Duration::from_millis(1)));
    }
    assert_eq!(descriptors(), before, "outside glommio");

    let bare = grows_by(&|| {
        executor(None, "bare").make().expect("an executor").run(async {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        });
    });
    let with_rings = grows_by(&|| {
        executor(None, "ends").make().expect("an executor").run(async {
            let mut rings = Rings::open(&small(1, 4)).expect("io_uring");
            rings.wait(Duration::from_millis(1)).await;
            drop(rings);
            live_and_drop(&mut |_| {});
        });
    });
    println!("a glommio executor leaves {bare} descriptors in five lives, with rings in it {with_rings}");
    assert_eq!(with_rings, bare, "inside glommio, with a wait that timed out");
}

/// Descriptors that five lives leave behind, after a first one that opens what is opened once.
fn grows_by(live: &dyn Fn()) -> usize {
    live();
    let before = descriptors();
    for _ in 0..5 {
        live();
    }
    descriptors() - before
}

#[test]
fn a_refused_configuration_is_one_line() {
    let refused = Rings::open(&RingConfig { submissions: 100, ..RingConfig::default() });
    let line = refused.expect_err("not a power of two").to_string();
    assert!(line.contains("submissions = 100") && line.lines().count() == 1, "{line}");
}
