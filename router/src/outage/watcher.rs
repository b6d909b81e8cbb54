//! Looks at Kafka and the disk every so often and tells the phase, the pacer and the board what it sees.
//!
//! Never tries a record of its own. A question that the brokers do not answer is as good as a refusal, so that an outage is
//! found while nobody hands anything in; records that nobody acknowledges are one long before they time out.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::pacer::Seen;
use super::phase::Phase;
use crate::journal::{Fault, Journal};
use crate::limits::{OUTAGE_LOOKED_AT_EVERY, OUTAGE_SILENCE_MAX};
use crate::node::board::Watch;

/// How much the newest look weighs in what counts as calm.
const CALM_WEIGHT: f64 = 0.1;

pub(super) struct Watcher {
    pub(super) kafka: Arc<dyn Journal>,
    pub(super) disk: Arc<dyn Journal>,
    pub(super) shared: Arc<Shared>,
    pub(super) watch: Watch,
}

impl Watcher {
    /// Runs until the runtime ends.
    pub(super) async fn run(self) {
        let mut calm = Duration::ZERO;
        let mut told = None;
        loop {
            tokio::time::sleep(OUTAGE_LOOKED_AT_EVERY).await;
            self.look_at_kafka();
            self.see(&mut calm);
            let now = (self.shared.outage.borrow().clone(), self.shared.missing().clone(), self.disk.fault());
            if told.as_ref() != Some(&now) {
                self.watch.outage(&now.0, &now.1);
                self.watch.buffer(now.2.as_ref());
                told = Some(now);
            }
        }
    }

    fn look_at_kafka(&self) {
        let silent = self.shared.live.silent(self.shared.clock.mono());
        if silent > OUTAGE_SILENCE_MAX {
            let why = format!("no record was acknowledged for {} ms", silent.as_millis());
            return self.shared.tell(|outage, now| outage.handle_refusal(&why, now));
        }
        match self.kafka.fault() {
            Some(Fault::Unwritable(why)) => self.shared.tell(|outage, now| outage.handle_refusal(&why, now)),
            Some(Fault::Full { .. }) | None => self.shared.tell(|outage, _| outage.handle_answer()),
        }
    }

    fn see(&self, calm: &mut Duration) {
        let live = self.shared.live.take_slowest();
        if let Some(live) = live
            && self.shared.outage.borrow().phase() == Phase::Normal
        {
            let weight = if calm.is_zero() { 1.0 } else { CALM_WEIGHT };
            *calm = calm.mul_f64(1.0 - weight) + live.mul_f64(weight);
        }
        self.shared.seen.send_replace(Seen { live, calm: *calm });
    }
}
