//! The thread that restores, so that an owner never waits for what brokers answer about a partition that is not its own yet.
//!
//! Owns the thread and the number of the round that it works on. Decides nothing: what a step came to goes to whoever hears
//! the group. Told by `node::several`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use super::GroupEvent;
use super::restore::{RestoreError, Restored, Restorer, Step};
use crate::limits::RESTORE_RETRY;
use crate::store::Store;

/// What is to be restored from now on, in place of all that was: each partition, and whether its owner is open.
#[derive(Debug)]
struct Order {
    round: u64,
    partitions: Vec<(u32, bool)>,
}

/// What became of a partition of a round.
#[derive(Debug)]
pub struct News {
    pub round: u64,
    /// An error is for people: the partition is tried again. `is_unfit`: until somebody mends it.
    pub restored: Result<Restored, Failed>,
}

#[derive(Debug)]
pub struct Failed {
    pub why: String,
    pub is_unfit: bool,
}

/// The thread, for as long as this lives.
#[derive(Debug)]
pub struct Restoring(Arc<Desk>);

/// Where it finds what it is to do: the newest order alone counts.
#[derive(Debug, Default)]
struct Desk {
    given: Mutex<Given>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Given {
    order: Option<Order>,
    ended: bool,
}

/// What the thread finds there.
#[derive(Debug)]
enum Taken {
    Order(Order),
    Nothing,
    End,
}

impl Restoring {
    /// `told` blocks the thread while there is no room.
    pub fn start<S: Store + Send + 'static>(
        restorer: Restorer<S>,
        told: mpsc::Sender<GroupEvent>,
    ) -> std::io::Result<Restoring> {
        let desk = Arc::new(Desk::default());
        let work = {
            let desk = Arc::clone(&desk);
            move || run(restorer, &desk, &told)
        };
        thread::Builder::new().name("router-restore".to_owned()).spawn(work)?;
        Ok(Restoring(desk))
    }

    /// These and no others, from the beginning. News of rounds before may still come.
    pub fn begin(&self, round: u64, partitions: Vec<(u32, bool)>) {
        self.0.given().order = Some(Order { round, partitions });
        self.0.changed.notify_one();
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        self.0.given().ended = true;
        self.0.changed.notify_one();
    }
}

impl Desk {
    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an order, `within` at most.
    fn take(&self, within: Option<Duration>) -> Taken {
        let mut given = self.given();
        let nothing = |given: &mut Given| given.order.is_none() && !given.ended;
        given = match within {
            None => self.changed.wait_while(given, nothing).unwrap_or_else(PoisonError::into_inner),
            Some(within) => {
                let waited = self.changed.wait_timeout_while(given, within, nothing);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if given.ended { Taken::End } else { given.order.take().map_or(Taken::Nothing, Taken::Order) }
    }
}

fn run<S: Store>(mut restorer: Restorer<S>, desk: &Desk, told: &mpsc::Sender<GroupEvent>) {
    let (mut round, mut rest) = (0, Duration::ZERO);
    loop {
        match desk.take((!restorer.is_idle()).then_some(rest)) {
            Taken::Order(order) => {
                round = order.round;
                restorer.begin(order.partitions.into_iter());
            }
            Taken::Nothing => {}
            Taken::End => return,
        }
        let (pause, restored) = match restorer.step() {
            Ok(Step::Done(restored)) => (Duration::ZERO, Some(Ok(restored))),
            Ok(Step::More | Step::Idle) => (Duration::ZERO, None),
            Ok(Step::Waits) => (RESTORE_RETRY / 4, None),
            Err(error) => {
                let is_unfit = matches!(error, RestoreError::Unfit(_));
                (RESTORE_RETRY, Some(Err(Failed { why: error.to_string(), is_unfit })))
            }
        };
        rest = pause;
        if let Some(restored) = restored
            && told.blocking_send(GroupEvent::Restored(News { round, restored })).is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_order_alone_counts_and_the_end_is_heard_at_once() {
        let restoring = Restoring(Arc::default());
        let desk = Arc::clone(&restoring.0);
        assert!(matches!(desk.take(Some(Duration::ZERO)), Taken::Nothing));
        restoring.begin(1, vec![(3, false)]);
        restoring.begin(2, vec![(4, true)]);
        match desk.take(None) {
            Taken::Order(order) => assert_eq!((order.round, order.partitions), (2, vec![(4, true)])),
            other => panic!("{other:?}"),
        }
        restoring.begin(3, Vec::new());
        drop(restoring);
        assert!(matches!(desk.take(None), Taken::End), "also when something was to be done");
    }
}
