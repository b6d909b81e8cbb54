//! One connection of the TLS door: how far it is, and what waits to go out. Called by `front`.

use std::sync::Arc;

use bytes::Bytes;
use rustls::ServerConfig;
use wire::time::Mono;

use super::Told;
use crate::limits::TLS_SEND_BYTES;
use crate::shard::Key;
use crate::tls::session::{Established, Failure, Heard, Session};

/// The first byte of a TLS connection: a record of a handshake (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing has come.
    Opening,
    /// It shakes hands or has done so.
    Secure(Box<Session>),
    /// There is no session any more; what waits goes out as it is.
    Over,
}

#[derive(Debug)]
pub(super) struct Passage {
    pub(super) key: Key,
    pub(super) stage: Stage,
    /// Records that the kernel has not been given.
    pub(super) to_send: Vec<u8>,
    /// What is left of a frame that is longer than one send.
    rest: Bytes,
    /// Bytes with the kernel.
    pub(super) sending: usize,
    /// Since when a record is half-read.
    unfinished_since: Mono,
    /// The shard waits to hear that its send is done.
    pub(super) is_owed: bool,
    /// Stands in the list of those to send, of those who shake hands, of those held back, of those watched.
    pub(super) is_listed: bool,
    pub(super) is_shaking: bool,
    pub(super) is_held: bool,
    pub(super) is_watched: bool,
    /// Enough of its handshake has come until its turn.
    pub(super) is_paused: bool,
    /// The shard has closed it: nothing goes on to it any more.
    pub(super) is_closing: bool,
    /// Its handshake was counted.
    is_counted: bool,
}
const _: () =
    assert!(size_of::<Passage>() <= 128, "an idle connection's share of the front, beside its session");

impl Passage {
    pub(super) fn new(key: Key) -> Passage {
        Passage {
            key,
            stage: Stage::Opening,
            to_send: Vec::new(),
            rest: Bytes::new(),
            sending: 0,
            unfinished_since: Mono::ZERO,
            is_owed: false,
            is_listed: false,
            is_shaking: false,
            is_held: false,
            is_watched: false,
            is_paused: false,
            is_closing: false,
            is_counted: false,
        }
    }

    /// The first byte came.
    pub(super) fn begin(&mut self, first: u8, config: Option<&Arc<ServerConfig>>) -> Result<(), Failure> {
        if first != HANDSHAKE_RECORD {
            return Err(Failure::NotTls);
        }
        let config = config.ok_or(Failure::Internal)?;
        self.stage = Stage::Secure(Box::new(Session::new(Arc::clone(config))?));
        Ok(())
    }

    /// Opens records and tells what they say.
    pub(super) fn open(
        &mut self,
        data: &mut [u8],
        scratch: &mut Vec<u8>,
        now: Mono,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<(), Failure> {
        let Stage::Secure(session) = &mut self.stage else { return Ok(()) };
        let was_unfinished = session.is_unfinished();
        let opened = session.receive(data, &mut self.to_send, &mut |heard| match heard {
            Heard::Plaintext(plain) => {
                scratch.clear();
                scratch.extend_from_slice(plain);
                tell(Told::Received(scratch));
            }
            Heard::End => tell(Told::Ended),
        })?;
        if opened || !was_unfinished {
            self.unfinished_since = now;
        }
        Ok(())
    }

    /// Once, when the handshake is through.
    pub(super) fn became_established(&mut self) -> Option<Established> {
        let Stage::Secure(session) = &self.stage else { return None };
        let is_news = session.is_established() && !std::mem::replace(&mut self.is_counted, true);
        is_news.then(|| session.established())
    }

    /// Whether a session that stands waits for the rest of a record: since when.
    pub(super) fn unfinished_since(&self) -> Option<Mono> {
        let Stage::Secure(session) = &self.stage else { return None };
        (session.is_established() && session.is_unfinished()).then_some(self.unfinished_since)
    }

    /// Whether the handshake is still to come or under way.
    pub(super) fn is_shaking_hands(&self) -> bool {
        match &self.stage {
            Stage::Opening => true,
            Stage::Secure(session) => !session.is_established(),
            Stage::Over => false,
        }
    }

    /// Turns as many frames into records as one send takes.
    pub(super) fn take(
        &mut self,
        frames: &mut dyn Iterator<Item = Bytes>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let Stage::Secure(session) = &mut self.stage else { return Err(Failure::Gone) };
        scratch.clear();
        while scratch.len() < TLS_SEND_BYTES
            && let Some(frame) = frames.next()
        {
            let piece = frame.len().min(TLS_SEND_BYTES - scratch.len());
            scratch.extend_from_slice(&frame[..piece]);
            self.rest = frame.slice(piece..);
        }
        if scratch.is_empty() {
            return Ok(());
        }
        self.is_owed = true;
        session.encrypt(scratch, &mut self.to_send)
    }

    /// The next piece of a long frame, if there is one.
    pub(super) fn take_rest(&mut self) -> Result<bool, Failure> {
        let Stage::Secure(session) = &mut self.stage else { return Ok(false) };
        if self.rest.is_empty() {
            return Ok(false);
        }
        let piece = self.rest.split_to(self.rest.len().min(TLS_SEND_BYTES));
        session.encrypt(&piece, &mut self.to_send)?;
        Ok(true)
    }

    pub(super) fn can_send(&self) -> bool {
        self.sending == 0 && !self.to_send.is_empty()
    }

    /// Puts `close_notify` behind what waits, if there is a session to close.
    pub(super) fn say_goodbye(&mut self) {
        self.rest = Bytes::new();
        if let Stage::Secure(session) = &mut self.stage
            && session.is_established()
        {
            // A session whose keys are used up ends without.
            let _unsaid = session.close(&mut self.to_send);
        }
    }

    /// The socket has failed: nothing goes out any more.
    pub(super) fn give_up(&mut self) {
        self.stage = Stage::Over;
        self.to_send = Vec::new();
        self.rest = Bytes::new();
        self.sending = 0;
    }
}
