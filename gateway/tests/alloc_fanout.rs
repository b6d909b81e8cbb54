//! Encoding and fan-out allocate nothing per recipient: a broadcast to ten times as many sockets allocates no
//! more.
//!
//! A counting allocator stands under the whole test program, so this promise has a file of its own.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::alloc::System;
use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use gateway::admission::{Admission, AdmissionLimits};
use gateway::auth::{Authenticator, Beliefs};
use gateway::census::Census;
use gateway::config::Gateway;
use gateway::metrics::ShardMetrics;
use gateway::shard::{Key, Now, Output, Settings, Shard, ShardConfig};
use uuid::Uuid;
use wire::link::{Frame, MAJOR};
use wire::time::{Mono, Wall};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting(System);

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

mod counting {
    //! The system's allocator with a count of each thread's allocations.
    #![expect(
        unsafe_code,
        reason = "an allocator is unsafe by its trait; this one only counts and passes on"
    )]

    use std::alloc::{GlobalAlloc, Layout, System};

    pub(super) struct Counting(pub(super) System);

    fn count() {
        // No thread-local any more: the thread is ending and counts for nobody.
        let _ending = super::ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    }

    // SAFETY: every call goes to the system's allocator unchanged, which keeps the trait's promises.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: the caller's promises about `layout` are passed on.
            unsafe { self.0.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: `at` came from the same allocator with this layout, as the caller promises.
            unsafe { self.0.dealloc(at, layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
            count();
            // SAFETY: the caller's promises are passed on.
            unsafe { self.0.realloc(at, layout, bytes) }
        }
    }
}

struct House {
    shard: Shard,
    now: Now,
}

impl House {
    fn new(sockets: u32) -> House {
        let limits = AdmissionLimits { soft: 1 << 20, hard: 1 << 20, accept_rate: 1_000_000_000 };
        let own = Gateway::own_origins(Gateway::default().listen);
        let config = ShardConfig {
            node: "n".to_owned(),
            shard: 0,
            boot: 1,
            routers: 1,
            admission: Arc::new(Admission::new(limits)),
            census: Arc::new(Census::new(7)),
            authenticator: Arc::new(Authenticator::new(Beliefs {
                own_origins: &own,
                local_user: true,
                ..Beliefs::default()
            })),
            metrics: Arc::new(ShardMetrics::default()),
            settings: Settings::from(&Gateway::default()),
            console: None,
        };
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_800_000_000_000_000) };
        let mut house = House { shard: Shard::new(config, 1, now), now };
        house.shard.handle_link_up(0, now);
        let node = "r".to_owned();
        house.shard.handle_link_frame(
            0,
            Frame::Hello { major: MAJOR, minor: 0, node, shard: 0, boot: 1 },
            now,
        );
        for index in 0..sockets {
            let key = Key::new(index, 1);
            house.shard.handle_accepted(key, "127.0.0.1:1".parse().unwrap(), now);
            let request = format!(
                "GET /v1/connect?user=u{index} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Version: 13\r\n\r\n"
            );
            house.shard.handle_received(key, &mut request.into_bytes(), now);
            house.settle();
        }
        house
    }

    /// Carries out all outputs; returns the frames that sockets were sent.
    fn settle(&mut self) -> u64 {
        let mut frames = 0;
        loop {
            while let Some(output) = self.shard.poll_output() {
                if let Output::Send { key } = output {
                    frames += self.shard.next_send(key).map_or(0, |sent| sent.map(|_| 1).sum::<u64>());
                    self.shard.handle_sent(key, self.now);
                }
            }
            if self.shard.poll_timeout() != Some(Mono::ZERO) {
                return frames;
            }
            self.shard.handle_timeout(self.now);
        }
    }

    /// Allocations of one broadcast to everyone, once all pools have grown to their size.
    fn allocations(&mut self, frame: &Frame, recipients: u64) -> u64 {
        let mut spent = 0;
        for _ in 0..3 {
            let frame = frame.clone();
            let before = ALLOCATIONS.get();
            self.shard.handle_link_frame(0, frame, self.now);
            let frames = self.settle();
            spent = ALLOCATIONS.get() - before;
            assert_eq!(frames, recipients);
        }
        spent
    }
}

#[test]
fn a_broadcast_allocates_nothing_per_recipient() {
    let everyone = Frame::Broadcast {
        tag: 1,
        id: Uuid::from_u128(1),
        created_at: Wall(1),
        topic: None,
        text: Bytes::from_static(br#"{"type":"notification","title":"hello"}"#),
    };
    let few = House::new(300).allocations(&everyone, 300);
    let many = House::new(3_000).allocations(&everyone, 3_000);
    assert_eq!(few, many, "ten times the recipients, as many allocations");
    assert!(many <= 8, "{many} allocations for one broadcast");
}

#[test]
fn a_delivery_allocates_a_frame_and_no_more() {
    let mut house = House::new(10);
    let one = Frame::Deliver {
        tag: 1,
        id: Uuid::from_u128(1),
        created_at: Wall(1),
        user: "u3".to_owned(),
        text: Bytes::from_static(br#"{"type":"notification","title":"hello"}"#),
    };
    let spent = house.allocations(&one, 1);
    assert!(spent <= 3, "{spent} allocations for one delivery");
}
