//! Where an outage of Kafka stands: what new records are tried on first, and whether the disk may be drained.
//!
//! Pure. Owns the one decision that all porches of `outage` obey. Never looks at a clock, a broker or the disk itself.
//!
//! ```text
//! normal ──refused, stalls──▶ buffering ──answers, takes one──▶ recovering ──nothing waits──▶ verifying ──all found──▶ normal
//!    ▲                           ▲  ▲──────────refused─────────────┘                              │
//!    │                           └─────────────refused────────────────────────────────────────────┤
//! ```

use serde::Serialize;
use wire::time::Wall;

/// The phases of an outage, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Kafka takes everything; nothing waits.
    Normal,
    /// Kafka takes nothing: everything goes to the disk.
    Buffering,
    /// Kafka takes again: new records go there first, what waits follows beside them.
    Recovering,
    /// Nothing waits any more; every record that did is looked for in the ledger.
    Verifying,
}

impl Phase {
    pub const ALL: [Phase; 4] = [Phase::Normal, Phase::Buffering, Phase::Recovering, Phase::Verifying];

    pub fn name(self) -> &'static str {
        match self {
            Phase::Normal => "normal",
            Phase::Buffering => "buffering",
            Phase::Recovering => "recovering",
            Phase::Verifying => "verifying",
        }
    }
}

/// One router's view of its Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    phase: Phase,
    since: Wall,
    /// What was said last against Kafka; empty in `Normal`.
    why: String,
    /// While `Buffering`: the brokers have answered since they last refused. The first record that waits is the next question.
    answers: bool,
}

impl Outage {
    /// `is_left`: something of an earlier run waits, or is not verified. Then Kafka has to show first that it takes records.
    pub fn new(is_left: bool, now: Wall) -> Outage {
        let (phase, why) = if is_left {
            (Phase::Buffering, "records of the run before wait".to_owned())
        } else {
            (Phase::Normal, String::new())
        };
        Outage { phase, since: now, why, answers: false }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn since(&self) -> Wall {
        self.since
    }

    pub fn why(&self) -> &str {
        &self.why
    }

    /// Whether new records are tried on Kafka before the disk.
    pub fn takes_live(&self) -> bool {
        self.phase != Phase::Buffering
    }

    /// Whether what waits on the disk may be tried on Kafka.
    pub fn may_drain(&self) -> bool {
        match self.phase {
            Phase::Buffering => self.answers,
            Phase::Recovering => true,
            Phase::Normal | Phase::Verifying => false,
        }
    }

    /// A record was refused, none was answered for too long, or the brokers did not answer a question.
    pub fn handle_refusal(&mut self, why: &str, now: Wall) {
        self.answers = false;
        why.clone_into(&mut self.why);
        self.enter(Phase::Buffering, now);
    }

    /// The brokers answer questions, and no record has been refused since.
    pub fn handle_answer(&mut self) {
        self.answers = true;
    }

    /// Kafka took a record that had waited.
    pub fn handle_drained(&mut self, now: Wall) {
        if self.phase == Phase::Buffering && self.answers {
            self.enter(Phase::Recovering, now);
        }
    }

    /// The disk holds nothing that Kafka has not.
    pub fn handle_empty(&mut self, now: Wall) {
        if self.may_drain() {
            self.enter(Phase::Verifying, now);
        }
    }

    /// Every record that had waited was found in the ledger, or is told to be missing.
    pub fn handle_verified(&mut self, now: Wall) {
        if self.phase == Phase::Verifying {
            self.why.clear();
            self.enter(Phase::Normal, now);
        }
    }

    fn enter(&mut self, phase: Phase, now: Wall) {
        if self.phase != phase {
            (self.phase, self.since) = (phase, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Outage {
        let mut outage = Outage::new(false, Wall(1));
        outage.handle_refusal("timed out", Wall(2));
        outage
    }

    #[test]
    fn an_outage_goes_through_its_phases() {
        let mut outage = Outage::new(false, Wall(1));
        assert_eq!((outage.phase(), outage.takes_live(), outage.may_drain()), (Phase::Normal, true, false));
        outage.handle_refusal("timed out", Wall(2));
        assert_eq!(
            (outage.phase(), outage.takes_live(), outage.may_drain()),
            (Phase::Buffering, false, false)
        );
        assert_eq!((outage.why(), outage.since()), ("timed out", Wall(2)));
        outage.handle_answer();
        assert!(!outage.takes_live() && outage.may_drain(), "the first that waits is the question");
        outage.handle_drained(Wall(3));
        assert_eq!(
            (outage.phase(), outage.takes_live(), outage.may_drain()),
            (Phase::Recovering, true, true)
        );
        outage.handle_empty(Wall(4));
        assert_eq!(
            (outage.phase(), outage.takes_live(), outage.may_drain()),
            (Phase::Verifying, true, false)
        );
        outage.handle_verified(Wall(5));
        assert_eq!((outage.phase(), outage.why(), outage.since()), (Phase::Normal, "", Wall(5)));
    }

    #[test]
    fn a_refusal_in_any_phase_buffers_again_and_asks_anew() {
        for steps in 0..4 {
            let mut outage = refused();
            let ways: [fn(&mut Outage); 3] = [
                Outage::handle_answer,
                |outage| outage.handle_drained(Wall(3)),
                |outage| outage.handle_empty(Wall(4)),
            ];
            ways.iter().take(steps).for_each(|way| way(&mut outage));
            outage.handle_refusal("again", Wall(9));
            assert_eq!(
                (outage.phase(), outage.may_drain(), outage.why()),
                (Phase::Buffering, false, "again")
            );
        }
    }

    #[test]
    fn what_comes_late_changes_nothing() {
        let mut outage = refused();
        outage.handle_drained(Wall(3));
        outage.handle_empty(Wall(3));
        outage.handle_verified(Wall(3));
        assert_eq!(
            (outage.phase(), outage.since()),
            (Phase::Buffering, Wall(2)),
            "the brokers have not answered"
        );
        let mut calm = Outage::new(false, Wall(1));
        calm.handle_answer();
        calm.handle_empty(Wall(2));
        assert_eq!((calm.phase(), calm.since()), (Phase::Normal, Wall(1)));
    }

    #[test]
    fn a_start_with_records_that_wait_begins_with_them() {
        let mut outage = Outage::new(true, Wall(1));
        assert!(!outage.takes_live() && !outage.may_drain());
        outage.handle_answer();
        outage.handle_empty(Wall(2));
        assert_eq!(outage.phase(), Phase::Verifying, "only what is to be verified was left");
    }
}
