//! How a client loses its connection, by itself or with all others at once, and comes back by the policy. Pure; part of
//! `fleet`.

use wire::close::Comeback;
use wire::time::Mono;

use super::timers::{Wake, Why};
use super::{End, Fleet, Output, Phase};
use crate::limits::CUTS_A_TURN;

/// A cut that goes on.
#[derive(Debug)]
pub(super) struct Cutting {
    pub(super) next: u32,
    how: End,
}

impl Fleet {
    /// From here on losses and returns are remembered one by one, for the arrival curve.
    pub fn watch_returns(&mut self) {
        self.watches_returns = true;
    }

    /// From here on whoever the server asks to leave, or closes, stays away.
    pub fn begin_leaving(&mut self) {
        self.leaving = true;
    }

    /// Leaves as the server asked: to come back elsewhere, or for good.
    pub(super) fn move_on(&mut self, place: u32, at: Mono, now: Mono) {
        self.journal.counts.moved += 1;
        self.note_loss(place, now);
        self.leave(place);
        if self.leaving {
            self.clients[place as usize].phase = Phase::Out;
            self.out += 1;
        } else {
            self.begin(place, at, now);
        }
    }

    /// Ends every connection without a word, a bounded number each turn; everybody comes back by the policy.
    pub fn begin_cut(&mut self, how: End) {
        self.cutting.get_or_insert(Cutting { next: 0, how });
    }

    pub(super) fn go_on_cutting(&mut self, now: Mono) {
        let Some(mut cutting) = self.cutting.take() else { return };
        let until = (cutting.next + CUTS_A_TURN).min(self.clients.len() as u32);
        for place in cutting.next..until {
            if self.clients[place as usize].phase == Phase::In {
                self.journal.counts.cut += 1;
                self.note_loss(place, now);
                self.leave_as(place, cutting.how);
                self.come_back(place, Comeback::Spread, now);
            }
        }
        cutting.next = until;
        if until < self.clients.len() as u32 {
            self.cutting = Some(cutting);
        }
    }

    /// A client that was in is not any more.
    pub(super) fn note_loss(&mut self, place: u32, now: Mono) {
        if self.watches_returns {
            self.clients[place as usize].stayed = false;
            self.journal.counts.lost += 1;
            self.journal.returns.handle_loss(now);
        }
    }

    /// Is it one that was in before, in a run that remembers them?
    pub(super) fn returns(&self, place: u32) -> bool {
        self.watches_returns && self.clients[place as usize].was_in
    }

    /// Takes a client out of whatever it was, with its socket.
    pub(super) fn leave(&mut self, place: u32) {
        self.leave_as(place, End::Reset);
    }

    fn leave_as(&mut self, place: u32, how: End) {
        let phase = std::mem::replace(&mut self.clients[place as usize].phase, Phase::Waiting);
        if phase == Phase::In {
            self.heed_retry(place);
            self.journal.counts.open -= 1;
            self.outputs
                .push_back(Output::Presence { client: self.config.lane.number(place), inside: false });
        } else if phase.shakes_hands() {
            self.under_way -= 1;
            self.partial.remove(&place);
        }
        self.outputs.push_back(Output::Close { place, how });
    }

    pub(super) fn lose(&mut self, place: u32, why: &str, comeback: Comeback, now: Mono) {
        self.journal.errors.add(why);
        self.lose_quietly(place, comeback, now);
    }

    /// The connection is gone: comes back by the policy, or gives up.
    pub(super) fn lose_quietly(&mut self, place: u32, comeback: Comeback, now: Mono) {
        if self.clients[place as usize].phase == Phase::In {
            self.journal.counts.dropped += 1;
            self.note_loss(place, now);
        }
        self.leave(place);
        self.come_back(place, comeback, now);
    }

    fn come_back(&mut self, place: u32, comeback: Comeback, now: Mono) {
        let client = &mut self.clients[place as usize];
        let hopeless = matches!(comeback, Comeback::Never | Comeback::AfterAuth);
        if hopeless || client.attempts >= self.config.attempts_max || self.closing.is_some() || self.leaving {
            client.phase = Phase::Out;
            self.out += 1;
            if !client.was_in {
                self.journal.counts.failed += 1;
            }
            return;
        }
        let delay = client.reconnect.handle_loss(now);
        self.timers.set_wake(now + delay, Wake { place, epoch: client.epoch, why: Why::Connects });
    }
}
