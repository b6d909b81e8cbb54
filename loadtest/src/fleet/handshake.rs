//! A client's upgrade: the request, made again when the answer comes rather than kept, and what each answer means. Pure; part
//! of `fleet`.

use std::time::Duration;

use wire::close::Comeback;
use wire::http::{ConnectRequest, RefusedUpgrade, parse_response};
use wire::time::Mono;

use super::{Fleet, Phase, speech};
use crate::dialect::Dialect;
use crate::limits::ANSWER_BYTES_MAX;
use crate::target::as_user;

impl Fleet {
    /// Builds the upgrade request, the same one each time for one attempt.
    pub(super) fn with_request<T>(&self, place: u32, read: impl FnOnce(&ConnectRequest<'_>) -> T) -> T {
        let client = &self.clients[place as usize];
        let number = self.config.lane.number(place);
        let target = &self.config.targets[usize::from(client.target)];
        let token = self.config.users.token(number).map(|token| format!("Bearer {token}"));
        let path = match (&token, self.config.dialect) {
            (None, Dialect::Tocsin) => as_user(&target.path, &self.config.users.name(number)),
            (_, dialect) => dialect.path(&target.path).to_owned(),
        };
        let headers: Vec<(&str, &str)> =
            token.iter().map(|token| ("Authorization", token.as_str())).collect();
        read(&ConnectRequest {
            host: &target.authority(),
            target: &path,
            key: speech::handshake_key(self.config.seed, number, client.epoch),
            protocols: self.config.dialect.protocols(),
            headers: &headers,
        })
    }

    pub(super) fn read_answer(&mut self, place: u32, input: &mut [u8], now: Mono) {
        let Some(mut kept) = self.partial.remove(&place) else {
            return self.read_answer_head(place, input, now);
        };
        if kept.len() + input.len() > ANSWER_BYTES_MAX {
            return self.lose(place, "upgrade: the answer is too long", Comeback::Backoff, now);
        }
        kept.extend_from_slice(input);
        self.read_answer_head(place, &mut kept, now);
    }

    fn read_answer_head(&mut self, place: u32, input: &mut [u8], now: Mono) {
        if self.config.reads_streams() {
            return self.read_events_head(place, input, now);
        }
        let head_bytes = match parse_response(input) {
            Ok(None) => {
                self.partial.insert(place, input.to_vec());
                return;
            }
            Err(error) => return self.lose(place, &format!("upgrade: {error}"), Comeback::Backoff, now),
            Ok(Some(head)) => match self.with_request(place, |request| head.check_upgrade(request).map(drop))
            {
                Ok(()) => head.head_bytes,
                Err(refusal) => return self.handle_refusal(place, &refusal, now),
            },
        };
        self.clients[place as usize].phase = Phase::Welcoming;
        self.open(place);
        self.read_frames(place, &mut input[head_bytes..], now);
    }

    /// A server that is full, by whichever way it says so.
    pub(super) fn refuse(&mut self, place: u32, retry_after: Option<Duration>, now: Mono) {
        self.journal.counts.refused += 1;
        let seconds =
            retry_after.map(|delay| u32::try_from(delay.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX));
        if let (Some(delay), Some(seconds)) = (retry_after, seconds) {
            *self.journal.retry_after_s.entry(seconds).or_default() += 1;
            self.clients[place as usize].reconnect.handle_advice(delay);
        }
        if self.returns(place) {
            self.journal.returns.handle_refusal(seconds, now);
        }
        self.lose_quietly(place, Comeback::Backoff, now);
    }

    fn handle_refusal(&mut self, place: u32, refusal: &RefusedUpgrade, now: Mono) {
        match refusal {
            RefusedUpgrade::Status { status: 503 | 429, retry_after } => {
                self.refuse(place, *retry_after, now);
            }
            // A client's fault: the same request would get the same answer.
            RefusedUpgrade::Status { status: status @ 400..=499, .. } => {
                self.lose(place, &format!("upgrade: status {status}"), Comeback::Never, now);
            }
            other => self.lose(place, &format!("upgrade: {other}"), Comeback::Backoff, now),
        }
    }
}
