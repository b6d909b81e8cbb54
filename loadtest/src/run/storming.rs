//! The storm of a run, step by step: when it begins, what ends the connections, when it is over. Part of the `run` porch.

use wire::time::Mono;

use super::at;
use crate::config::{Cut, StormPlan};
use crate::engine::{Engines, Status};
use crate::fleet::End;
use crate::limits::STORM_QUIET;
use crate::posts::Posts;
use crate::victim;
use ops::clock::Clock;

/// A storm that waits, goes on, or is over.
#[derive(Debug)]
pub(super) struct Storming {
    cut: Cut,
    due: Mono,
    /// When it began.
    pub(super) cut_at: Option<Mono>,
    /// Losses so far, and when the last came.
    lost: (u64, Mono),
    /// Since when everybody has been in.
    settled_at: Option<Mono>,
    pub(super) over_at: Option<Mono>,
    /// The signal could not be sent.
    pub(super) failure: Option<String>,
}

impl Storming {
    /// `from`: what the plan's time counts from. Losses are remembered from here on.
    pub(super) fn new(plan: &StormPlan, from: Mono, clock: Clock, engines: &Engines) -> Storming {
        engines.watch_returns();
        let due = at(plan.at, from, clock);
        Storming {
            cut: plan.cut,
            due,
            cut_at: None,
            lost: (0, from),
            settled_at: None,
            over_at: None,
            failure: None,
        }
    }

    pub(super) fn due(&self) -> Mono {
        self.due
    }

    pub(super) fn is_over(&self) -> bool {
        self.over_at.is_some() || self.failure.is_some()
    }

    pub(super) fn step(&mut self, status: &Status, now: Mono, engines: &Engines, posts: Option<&Posts>) {
        if self.is_over() {
            return;
        }
        if self.cut_at.is_none() {
            if self.begin(status, now, engines) {
                self.cut_at = Some(now);
                self.lost.1 = now;
                if let Some(posts) = posts {
                    posts.phases.mark_cut(now);
                }
            }
            return;
        }
        if status.counts.lost != self.lost.0 {
            self.lost = (status.counts.lost, now);
            self.settled_at = None;
            if let Some(posts) = posts {
                posts.phases.mark_loss(now);
            }
        }
        if status.settled {
            self.settled_at.get_or_insert(now);
        } else {
            self.settled_at = None;
        }
        let dead = !matches!(self.cut, Cut::Kill { pid, .. } if victim::look(pid).is_ok());
        if let Some(settled) = self.settled_at
            && self.lost.0 > 0
            && dead
            && now.since(self.lost.1) >= STORM_QUIET
            && now.since(settled) >= STORM_QUIET
        {
            self.over_at = Some(settled);
            if let Some(posts) = posts {
                posts.phases.mark_over(settled);
            }
        }
    }

    /// True: it begins now.
    fn begin(&mut self, status: &Status, now: Mono, engines: &Engines) -> bool {
        match self.cut {
            Cut::Wait => status.counts.lost > 0,
            _ if now < self.due => false,
            Cut::Reset => {
                engines.cut(End::Reset);
                true
            }
            Cut::Fin => {
                engines.cut(End::Fin);
                true
            }
            Cut::Kill { pid, signal } => {
                self.failure = victim::signal(pid, signal).err();
                self.failure.is_none()
            }
        }
    }
}
