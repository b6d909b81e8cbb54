//! What clients of event streams say: each message by a POST on a connection of its own, beside the stream. A bounded number is
//! under way at one time; the others wait in line. Pure; part of `fleet`.
//!
//! An errand has a place behind those of the clients, so that the engine knows sockets by their place and nothing else.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use wire::http::parse_response;
use wire::time::Mono;

use super::acks::Acks;
use super::{End, Fleet, Output, Phase};
use crate::limits::{
    ANSWER_BYTES_MAX, ERRAND_AGAIN, ERRANDS_WAITING_MAX, HANDSHAKE_WITHIN, SERVER_MESSAGE_BYTES_MAX,
};
use crate::receipts::Way;

/// What is said, as far as it matters when it was not heard.
#[derive(Debug)]
pub(super) enum Matter {
    Acks(Acks),
    Sync,
    Subscribe,
}

#[derive(Debug)]
struct Errand {
    client: u32,
    body: String,
    matter: Matter,
}

/// One connection for errands.
#[derive(Debug, Default)]
struct Runner {
    errand: Option<Errand>,
    /// Counts errands, so that a deadline of an earlier one is known as stale.
    epoch: u32,
    answer: Vec<u8>,
}

/// All errands of one thread.
#[derive(Debug)]
pub(super) struct Errands {
    /// The place of the first runner.
    first: u32,
    runners: Vec<Runner>,
    free: Vec<u32>,
    waiting: VecDeque<Errand>,
}

impl Errands {
    /// So many places behind those of the clients.
    pub(super) fn new(clients: u32, places: u32) -> Errands {
        Errands {
            first: clients,
            runners: (0..places).map(|_| Runner::default()).collect(),
            free: (0..places).rev().collect(),
            waiting: VecDeque::new(),
        }
    }

    /// Is it no client's place?
    pub(super) fn has(&self, place: u32) -> bool {
        place >= self.first
    }

    /// Is one due that could begin?
    pub(super) fn can_begin(&self) -> bool {
        !self.waiting.is_empty() && !self.free.is_empty()
    }

    /// Runners without an errand, and runners that may be given one: the same ones.
    #[cfg(test)]
    pub(super) fn idle_and_free(&self) -> (usize, usize) {
        (self.runners.iter().filter(|runner| runner.errand.is_none()).count(), self.free.len())
    }

    /// The runner of a place that is no client's.
    fn at(&self, place: u32) -> Option<usize> {
        place.checked_sub(self.first).map(|at| at as usize)
    }

    /// Takes the errand off its runner, which is free again.
    fn take(&mut self, at: usize) -> Option<Errand> {
        let runner = &mut self.runners[at];
        let errand = runner.errand.take()?;
        runner.answer = Vec::new();
        self.free.push(at as u32);
        Some(errand)
    }
}

/// What a whole answer says.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: String,
}

/// `None` while it is not whole; `ended`: nothing more comes.
fn read_answer(bytes: &[u8], ended: bool) -> Result<Option<Answer>, String> {
    let Some(head) = parse_response(bytes).map_err(|error| error.to_string())? else {
        return if ended { Err("end of stream".to_owned()) } else { Ok(None) };
    };
    let body = &bytes[head.head_bytes..];
    let length = head.content_length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let body = match length {
        Some(length) if body.len() >= length => &body[..length],
        None if ended => body,
        _ if ended => return Err("end of stream".to_owned()),
        _ => return Ok(None),
    };
    let body = str::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?.to_owned();
    Ok(Some(Answer { status: head.status, retry_after: head.retry_after(), body }))
}

impl Fleet {
    /// Has a client of a stream say something, as soon as there is a connection for it.
    pub(super) fn send_errand(&mut self, client: u32, body: String, matter: Matter) {
        if self.errands.waiting.len() >= ERRANDS_WAITING_MAX {
            return self.journal.errors.add("message: too many wait to be said, given up");
        }
        self.errands.waiting.push_back(Errand { client, body, matter });
    }

    pub(super) fn begin_errands(&mut self, now: Mono) {
        while self.errands.can_begin() {
            let (Some(errand), Some(at)) = (self.errands.waiting.pop_front(), self.errands.free.pop()) else {
                return;
            };
            let target = usize::from(self.clients[errand.client as usize].target);
            let runner = &mut self.errands.runners[at as usize];
            runner.epoch = runner.epoch.wrapping_add(1);
            runner.errand = Some(errand);
            let place = self.errands.first + at;
            self.timers.set_deadline(now + HANDSHAKE_WITHIN, place, runner.epoch);
            self.outputs.push_back(Output::Connect { place, target });
        }
    }

    /// Nobody says anything any more.
    pub(super) fn end_errands(&mut self) {
        self.errands.waiting.clear();
        for at in 0..self.errands.runners.len() {
            if self.errands.take(at).is_some() {
                self.close_errand(at);
            }
        }
    }

    fn close_errand(&mut self, at: usize) {
        self.outputs.push_back(Output::Close { place: self.errands.first + at as u32, how: End::Reset });
    }

    /// The socket of an errand is up. False: the place is a client's.
    pub(super) fn errand_connected(&mut self, place: u32) -> bool {
        let Some(at) = self.errands.at(place) else { return false };
        if let Some(errand) = &self.errands.runners[at].errand {
            let client = &self.clients[errand.client as usize];
            let path = self.config.targets[usize::from(client.target)].messages_path();
            let mut request = self.request_head("POST", &path, errand.client);
            let length = errand.body.len().to_string();
            request.extend([
                "Content-Type: application/json\r\nContent-Length: ",
                &length,
                "\r\n\r\n",
                &errand.body,
            ]);
            self.outputs.push_back(Output::Send { place, frame: Bytes::from(request) });
        }
        true
    }

    pub(super) fn errand_bytes(&mut self, place: u32, input: &[u8], now: Mono) -> bool {
        let Some(at) = self.errands.at(place) else { return false };
        let runner = &mut self.errands.runners[at];
        if runner.errand.is_none() {
            return true;
        }
        if runner.answer.len() + input.len() > ANSWER_BYTES_MAX + SERVER_MESSAGE_BYTES_MAX {
            self.fail_errand(at, "the answer is too long", now);
            return true;
        }
        runner.answer.extend_from_slice(input);
        self.look_at_answer(at, false, now);
        true
    }

    /// The socket of an errand is gone, or never was.
    pub(super) fn errand_ended(&mut self, place: u32, error: Option<&str>, now: Mono) -> bool {
        let Some(at) = self.errands.at(place) else { return false };
        match error {
            Some(why) => self.fail_errand(at, why, now),
            None => self.look_at_answer(at, true, now),
        }
        true
    }

    pub(super) fn errand_overdue(&mut self, place: u32, epoch: u32, now: Mono) -> bool {
        let Some(at) = self.errands.at(place) else { return false };
        if self.errands.runners[at].epoch == epoch {
            self.fail_errand(at, "timed out", now);
        }
        true
    }

    fn look_at_answer(&mut self, at: usize, ended: bool, now: Mono) {
        match read_answer(&self.errands.runners[at].answer, ended) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                if let Some(errand) = self.errands.take(at) {
                    self.close_errand(at);
                    self.handle_answer(errand, &answer, now);
                }
            }
            Err(why) => self.fail_errand(at, &why, now),
        }
    }

    /// Nobody knows whether it was heard: it is said again, which does no harm.
    fn fail_errand(&mut self, at: usize, why: &str, now: Mono) {
        if let Some(errand) = self.errands.take(at) {
            self.close_errand(at);
            self.journal.errors.add(&format!("message: {why}"));
            self.say_errand_again(errand, ERRAND_AGAIN, now);
        }
    }

    fn handle_answer(&mut self, errand: Errand, answer: &Answer, now: Mono) {
        match answer.status {
            // The reply to a sync or a subscription.
            200 if self.clients[errand.client as usize].phase != Phase::Out => {
                self.handle_text(errand.client, &answer.body, Way::Sync, now);
            }
            200 | 202 => {}
            status @ (503 | 429) => {
                self.journal.errors.add(&format!("message: status {status}"));
                self.say_errand_again(errand, answer.retry_after.unwrap_or(ERRAND_AGAIN), now);
            }
            status => self.journal.errors.add(&format!("message: status {status}, given up")),
        }
    }

    fn say_errand_again(&mut self, errand: Errand, after: Duration, now: Mono) {
        let place = errand.client;
        match errand.matter {
            Matter::Acks(acks) => self.refuse_acks(place, vec![acks], after, now),
            Matter::Sync => self.sync_again(place, after, now),
            Matter::Subscribe => self.subscribe_again(place, after, now),
        }
    }
}
