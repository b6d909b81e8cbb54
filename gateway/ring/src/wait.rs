//! Sleeping without losing a wake-up. All rings of a shard ring one bell, an eventfd; so does every [`Notifier`]. While the
//! shard is awake the rings are told not to ring it. Called by `rings`.
//!
//! Why none is lost: before sleep the rings are told to ring, then a full fence, then every ring is looked at once more. The
//! kernel publishes its work, then reads whether to ring. One of the two sees the other.
//!
//! glommio's part: in rare cases its executor goes to sleep although a task can run, until some I/O completes (see
//! `PREEMPT_TIMER` in `open`). So no sleep in glommio, not even that of `give_way`, is longer than [`crate::RingConfig::sleep_max`].

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use futures_lite::future;
use glommio::io::BufferedFile;

use crate::clock::{self, Nanos};
use crate::rings::Rings;

/// Bytes of an eventfd's counter.
const COUNTER_BYTES: usize = 8;
/// `give_way` steps aside when the shard has kept the thread for this long.
const KEEP_THREAD_NS: u64 = 1_000_000;

/// The eventfd, and whether a notifier has rung it since the shard last looked.
#[derive(Debug)]
struct Bell {
    file: File,
    notified: AtomicBool,
}

/// Wakes a shard from any thread. Many calls between two looks of the shard cost one write.
#[derive(Debug, Clone)]
pub struct Notifier {
    bell: Arc<Bell>,
}

impl Notifier {
    /// Ends the current or the next `wait`. Whatever the caller wrote before is visible to the shard after that `wait`.
    pub fn wake(&self) {
        if self.bell.notified.swap(true, Ordering::SeqCst) {
            return;
        }
        self.bell.ring();
    }
}

impl Bell {
    fn ring(&self) {
        if let Err(error) = (&self.file).write_all(&1u64.to_ne_bytes()) {
            tracing::warn!(%error, "cannot ring a shard's eventfd");
        }
    }
}

/// The kernel sets its "work is there" flag before it looks whether to ring: x86 keeps that order. Elsewhere only the kernel's own
/// list tells, so every ring is entered once before a sleep.
const KERNEL_FLAG_IS_ORDERED: bool = cfg!(target_arch = "x86_64");

type Reading = Pin<Box<dyn Future<Output = ()>>>;

/// The shard's end of the bell.
pub(crate) struct Doorbell {
    bell: Arc<Bell>,
    /// The same descriptor as glommio's file, which must not close it: `bell` does.
    file: Option<Rc<ManuallyDrop<BufferedFile>>>,
    /// glommio's read of the eventfd. It outlives a `wait` that timed out, else it would swallow a later signal.
    reading: Option<Reading>,
}

impl Doorbell {
    pub(crate) fn new() -> io::Result<Doorbell> {
        // SAFETY: no pointers are involved; the result is checked below.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just opened this descriptor and nobody else has it.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let bell = Bell { file: File::from(owned), notified: AtomicBool::new(false) };
        Ok(Doorbell { bell: Arc::new(bell), file: None, reading: None })
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.bell.file.as_raw_fd()
    }

    pub(crate) fn notifier(&self) -> Notifier {
        Notifier { bell: Arc::clone(&self.bell) }
    }

    /// The signal was taken from the eventfd: notifiers write again from here on.
    fn taken(&mut self) {
        self.reading = None;
        // A swap, not a store: it orders what a notifier wrote before its own swap before what the shard reads next.
        self.bell.notified.swap(false, Ordering::SeqCst);
    }

    /// Sleeps in glommio until the bell rings (true) or `at_most` has passed.
    async fn sleep(&mut self, at_most: Duration) -> bool {
        let late = async {
            glommio::timer::sleep(at_most).await;
            false
        };
        future::or(self.rung(), late).await
    }

    /// Lets glommio look at its I/O, timers and other tasks, then comes back. A mere yield would not: glommio runs what can run
    /// until its preemption timer expires. So this waits for a signal that it gives itself. True: the signal was taken.
    async fn step_aside(&mut self, at_most: Duration) -> bool {
        self.bell.ring();
        self.sleep(at_most).await
    }

    /// True when glommio has read a signal from the eventfd.
    async fn rung(&mut self) -> bool {
        let file = self.file.get_or_insert_with(|| {
            // SAFETY: the descriptor is open as long as `bell`, which outlives the file: `Doorbell` has both, and a read in
            // flight holds the kernel's own reference. `ManuallyDrop` keeps glommio from closing it.
            Rc::new(ManuallyDrop::new(unsafe { BufferedFile::from_raw_fd(self.bell.file.as_raw_fd()) }))
        });
        let reading = self.reading.get_or_insert_with(|| {
            let file = Rc::clone(file);
            Box::pin(async move {
                if let Err(error) = file.read_at(0, COUNTER_BYTES).await {
                    tracing::debug!(%error, "reading a shard's eventfd failed; taken as a wake-up");
                }
            })
        });
        reading.await;
        true
    }

    /// Sleeps in the kernel until the bell rings (true) or `at_most` has passed.
    fn sleep_blocking(&mut self, at_most: Duration) -> bool {
        assert!(self.reading.is_none(), "one Rings waits in one way");
        let mut poll = libc::pollfd { fd: self.descriptor(), events: libc::POLLIN, revents: 0 };
        let time = libc::timespec {
            tv_sec: at_most.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // SAFETY: `poll` and `time` live through the call, the count is one, and no signal mask is given.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, &raw const time, std::ptr::null()) };
        if ready <= 0 {
            return false;
        }
        let mut counter = [0; COUNTER_BYTES];
        if let Err(error) = (&self.bell.file).read_exact(&mut counter) {
            tracing::debug!(%error, "reading a shard's eventfd failed; taken as a wake-up");
        }
        true
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").field("bell", &self.bell).finish_non_exhaustive()
    }
}

impl Rings {
    /// Returns when there is something for `turn` to do, when a notifier wakes the shard, or after `at_most`. Spins for a
    /// moment, then sleeps in glommio. May return early for no reason, and does so after
    /// [`crate::RingConfig::sleep_max`]. Only inside a glommio executor.
    pub async fn wait(&mut self, at_most: Duration) {
        let Some(at_most) = self.before_sleep(at_most) else {
            // There may always be something to do that reports nothing: the executor's other tasks must run, too.
            self.give_way().await;
            return;
        };
        let rung = self.doorbell.sleep(at_most.min(self.sleep_max)).await;
        self.gave_way = clock::now();
        self.after_sleep(rung);
    }

    /// Lets the executor's other tasks run if the shard has kept the thread for a millisecond. For busy loops, after each turn;
    /// `wait` does it by itself. Look into your own queues afterwards, as after `wait`.
    pub async fn give_way(&mut self) {
        let now = clock::now();
        if now.0 < self.gave_way.0 + KEEP_THREAD_NS {
            return;
        }
        if self.doorbell.step_aside(self.sleep_max).await {
            self.doorbell.taken();
        }
        self.gave_way = clock::now();
    }

    /// As `wait`, outside glommio: the thread sleeps in poll(2), for all of `at_most`. One `Rings` uses one of the two.
    pub fn wait_blocking(&mut self, at_most: Duration) {
        let Some(at_most) = self.before_sleep(at_most) else { return };
        let rung = self.doorbell.sleep_blocking(at_most);
        self.after_sleep(rung);
    }

    /// Wakes this shard's `wait` from elsewhere.
    pub fn notifier(&self) -> Notifier {
        self.doorbell.notifier()
    }

    /// Spins, then tells the rings to ring. `None`: do not sleep.
    fn before_sleep(&mut self, at_most: Duration) -> Option<Duration> {
        if self.ready() {
            return None;
        }
        let start = clock::now();
        let spin_until = Nanos(start.0 + self.spin.min(at_most).as_nanos() as u64);
        while clock::now() < spin_until {
            if self.ready() {
                self.shared.stats.spin_hits += 1;
                return None;
            }
            std::hint::spin_loop();
        }
        for ring in &mut self.rings {
            ring.set_bell(true);
        }
        fence(Ordering::SeqCst);
        if !KERNEL_FLAG_IS_ORDERED {
            let Rings { rings, shared, .. } = self;
            for ring in rings {
                ring.enter(shared);
            }
        }
        if at_most.is_zero() || self.ready() {
            self.set_bells_off();
            return None;
        }
        self.shared.stats.waits += 1;
        let until_accept =
            self.doors.pause_until().map(|until| Duration::from_nanos(until.0.saturating_sub(start.0)));
        Some(until_accept.map_or(at_most, |until| at_most.min(until.max(Duration::from_millis(1)))))
    }

    fn after_sleep(&mut self, rung: bool) {
        self.set_bells_off();
        if rung {
            self.shared.stats.wakes += 1;
            self.doorbell.taken();
        }
    }

    fn set_bells_off(&mut self) {
        for ring in &mut self.rings {
            ring.set_bell(false);
        }
    }
}
