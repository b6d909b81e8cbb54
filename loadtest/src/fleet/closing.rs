//! The end of a run: goodbye on every connection, a part each turn. Pure; part of `fleet`.

use wire::close::CloseCode;
use wire::time::Mono;
use wire::ws;

use super::{End, Fleet, Output, Phase};
use crate::limits::{CLOSE_WITHIN, CLOSES_A_TURN};

#[derive(Debug)]
pub(super) struct Closing {
    pub(super) next: u32,
    pub(super) open: u32,
    pub(super) by: Mono,
}

impl Fleet {
    /// Says goodbye on every connection, a bounded number each turn; nobody comes back.
    pub fn begin_close(&mut self, now: Mono) {
        self.closing.get_or_insert(Closing { next: 0, open: 0, by: now + CLOSE_WITHIN });
        self.end_errands();
    }

    pub fn is_closed(&self) -> bool {
        self.closing
            .as_ref()
            .is_some_and(|closing| closing.next == self.clients.len() as u32 && closing.open == 0)
    }

    pub(super) fn go_on_closing(&mut self, now: Mono) {
        let Some(mut closing) = self.closing.take() else { return };
        let until = (closing.next + CLOSES_A_TURN).min(self.clients.len() as u32);
        for place in closing.next..until {
            let phase = self.clients[place as usize].phase;
            if phase == Phase::In && self.config.reads_streams() {
                // A stream's client says no goodbye: it hangs up.
                self.clients[place as usize].phase = Phase::Out;
                self.outputs.push_back(Output::Close { place, how: End::Reset });
            } else if phase == Phase::In {
                let frame = ws::close_frame(CloseCode::Normal.number(), "", Some(self.speech.mask()));
                self.outputs.push_back(Output::Send { place, frame });
                self.clients[place as usize].phase = Phase::Closing;
                closing.open += 1;
            } else if phase.shakes_hands() {
                self.leave(place);
            }
        }
        if until > closing.next {
            closing.by = now + CLOSE_WITHIN;
        }
        closing.next = until;
        let overdue = now >= closing.by;
        self.closing = Some(closing);
        if overdue {
            self.journal.errors.add("close: the server did not answer in time");
            for place in 0..self.clients.len() as u32 {
                if self.clients[place as usize].phase == Phase::Closing {
                    self.finish(place);
                }
            }
        }
    }

    /// The end of an orderly close.
    pub(super) fn finish(&mut self, place: u32) {
        self.clients[place as usize].phase = Phase::Out;
        self.outputs.push_back(Output::Close { place, how: End::Reset });
        if let Some(closing) = &mut self.closing {
            closing.open -= 1;
        }
    }
}
