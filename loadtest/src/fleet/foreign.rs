//! A client of another's server: the same sockets, schedule and books, and that server's few words instead of ours. Pure; part
//! of `fleet`.

use wire::close::Comeback;
use wire::time::Mono;
use wire::ws;

use super::{Fleet, Output, Phase};
use crate::dialect::{Dialect, Heard};
use crate::receipts::Way;

impl Fleet {
    /// What is said as soon as the upgrade is through.
    pub(super) fn open(&mut self, place: u32) {
        if let Some(words) = self.config.dialect.opening() {
            self.say_foreign(place, words);
        }
    }

    fn say_foreign(&mut self, place: u32, words: &str) {
        let frame = ws::frame(self.config.dialect.opcode(), words.as_bytes(), Some(self.speech.mask()));
        self.outputs.push_back(Output::Send { place, frame });
    }

    pub(super) fn handle_binary(&mut self, place: u32, payload: &[u8], now: Mono) {
        match str::from_utf8(payload) {
            Ok(text) if self.config.dialect == Dialect::Nats => self.handle_foreign(place, text, now),
            _ => self.journal.errors.add("the server sent a binary message"),
        }
    }

    pub(super) fn handle_foreign(&mut self, place: u32, payload: &str, now: Mono) {
        let inside = self.clients[place as usize].phase == Phase::In;
        match self.config.dialect.read(payload, inside) {
            Heard::In if self.clients[place as usize].phase == Phase::Welcoming => {
                self.journal.handshakes.record(now.since(self.clients[place as usize].intended));
                self.enter(place, now);
            }
            Heard::Reply(words) => {
                self.journal.counts.pings_answered += u64::from(inside);
                self.say_foreign(place, words);
            }
            Heard::Refused(why) => return self.lose(place, why, Comeback::Backoff, now),
            Heard::In | Heard::Messages => {}
        }
        if inside {
            self.handle_copies(place, payload, Way::Live, now);
        }
    }
}
