//! Holding clients: one notification for each if that is asked for, pings meanwhile, and a drain of the gateway at the end. Part of
//! the `run` porch.

use std::sync::Arc;
use std::time::Duration;

use super::{Outcome, Run, RunError};
use crate::config::{DrainPlan, HoldPlan, Signal};
use crate::engine::{Engines, Shared};
use crate::report::Drain;
use crate::victim;

impl Run<'_> {
    pub(super) fn hold(
        &mut self,
        plan: &HoldPlan,
        engines: &Engines,
        shared: &Arc<Shared>,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        let from = self.clock.mono();
        let until = from + self.config.lasts;
        if let Some(posting) = &plan.notify {
            self.send(posting, engines, shared, outcome)?;
        }
        self.progress.begin("holding", self.config.lasts.as_secs());
        let held = self.watch(shared, |status, now, progress| {
            let counts = &status.counts;
            let more = format!(
                "s: {} in, {} dropped, {} came back, {} pings answered",
                counts.open, counts.dropped, counts.reconnected, counts.pings_answered
            );
            progress.show(now.since(from).as_secs(), &more, now);
            now >= until
        });
        if let (true, Some(drain)) = (held, &plan.drain) {
            outcome.take_stock(shared);
            outcome.drain = self.drain(*drain, engines, shared);
        }
        Ok(())
    }

    /// Asks the gateway to drain and lets the clients leave; how that went.
    fn drain(&mut self, plan: DrainPlan, engines: &Engines, shared: &Arc<Shared>) -> Option<Drain> {
        let before = shared.status().counts;
        engines.begin_leaving();
        if let Err(why) = victim::signal(plan.pid, Signal::Terminate) {
            self.warnings.push(format!("--drain-pid: {why}"));
            return None;
        }
        let begun = self.clock.mono();
        let by = begun + plan.within;
        self.progress.begin("draining", u64::from(before.open));
        let mut last = (before.open, begun);
        self.watch(shared, |status, now, progress| {
            if status.counts.open != last.0 {
                last = (status.counts.open, now);
            }
            progress.show(u64::from(before.open.saturating_sub(status.counts.open)), "left", now);
            status.counts.open == 0 || now >= by
        });
        let after = shared.status().counts;
        Some(Drain {
            pid: plan.pid,
            clients: before.open,
            asked_to_leave: after.moved - before.moved,
            ended: after.dropped - before.dropped,
            left_over: after.open,
            seconds: hundredths(last.1.since(begun)),
        })
    }
}

fn hundredths(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}
