//! From accepted to open: reads the request, finds out who it is, and opens what was wished for.
//!
//! Slow clients have `handshake_s` for all of it (`timeouts`). A connection that is refused gets as far as its
//! head, since a refusal comes in the client's own terms: 503 from a full node, 429 to a user or an address
//! that has too many; for browsers an upgrade closed with 1013 or 1008. Called by `shard`.

use bytes::Bytes;
use wire::close::CloseCode;
use wire::http::{BadRequest, RequestHead, parse_request};
use wire::message::{ServerMessage, Welcome};
use wire::session::{Role, Session};
use wire::ws::{self, Data, OpCode};

use crate::admission::{Refusal, RetryAfter};
use crate::auth::{AuthError, Decision, Identity};
use crate::limits;
use crate::metrics::Handshake;
use crate::shard::connection::{Behind, Redeeming, State};
use crate::shard::request::{self, Route, Wish};
use crate::shard::{Key, Now, Shard};

/// What was decided about a whole head.
enum Outcome {
    Answer(Bytes, Handshake),
    /// Upgrade, then close: for clients that cannot read an answer.
    RefuseByClose(Bytes, Refused),
    Open(Wish, Identity),
    Redeem(Wish, String),
}

/// Whose room is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Node,
    Address,
    User,
}

impl Refused {
    fn by(why: Refusal) -> Refused {
        if why == Refusal::FullAddress { Refused::Address } else { Refused::Node }
    }

    fn outcome(self) -> Handshake {
        if self == Refused::Node { Handshake::OverCapacity } else { Handshake::TooMany }
    }

    fn close_code(self) -> CloseCode {
        if self == Refused::Node { CloseCode::OverCapacity } else { CloseCode::Policy }
    }

    fn answer(self, retry: RetryAfter, cors: Option<&str>) -> Bytes {
        match self {
            Refused::Node => request::over_capacity(retry),
            Refused::Address => request::too_many(retry, "this address has too many connections", Some("*")),
            Refused::User => request::too_many(retry, "this user has too many connections", cors),
        }
    }
}

impl Shard {
    /// More of a request's head.
    pub(super) fn read_head(&mut self, key: Key, data: &mut [u8], now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Head(head) = &mut connection.state else { return };
        // The usual head comes whole: it is read where it lies.
        let mut kept = std::mem::take(&mut head.bytes);
        if kept.is_empty() {
            match self.decide(key, data, now) {
                Some((outcome, head_bytes)) => self.carry_out(key, outcome, &mut data[head_bytes..], now),
                None => self.keep_head(key, data.to_vec()),
            }
            return;
        }
        kept.extend_from_slice(data);
        match self.decide(key, &kept, now) {
            Some((outcome, head_bytes)) => self.carry_out(key, outcome, &mut kept[head_bytes..], now),
            None => self.keep_head(key, kept),
        }
    }

    fn keep_head(&mut self, key: Key, bytes: Vec<u8>) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if let State::Head(head) = &mut connection.state {
            head.bytes = bytes;
        }
    }

    /// What to do about these bytes, and how many of them were the head; `None` while it is not whole.
    fn decide(&mut self, key: Key, bytes: &[u8], now: Now) -> Option<(Outcome, usize)> {
        let too_large = BadRequest { status: 431, reason: "the header is too large" };
        let head = match parse_request(bytes) {
            Ok(Some(head)) if head.head_bytes <= self.config.settings.header_bytes => head,
            Ok(None) if bytes.len() <= self.config.settings.header_bytes => return None,
            Ok(_) => return Some((bad(too_large), bytes.len())),
            Err(why) => return Some((bad(why), bytes.len())),
        };
        let refused = self.refused(key, &head);
        let outcome = self.decide_head(&head, refused, now).unwrap_or_else(bad);
        Some((outcome, head.head_bytes))
    }

    /// Whether the connection was refused at the door, or is now that its head may say whose it is.
    fn refused(&mut self, key: Key, request: &RequestHead<'_>) -> Option<Refusal> {
        let State::Head(head) = &mut self.sockets.slab.get(key)?.state else { return None };
        let refused = head.refused;
        match std::mem::replace(&mut head.behind, Behind::Known) {
            Behind::Known => refused,
            Behind::Proxy | Behind::Forwarded => refused.or(self.count_forwarded(key, request)),
        }
    }

    fn decide_head(
        &mut self,
        head: &RequestHead<'_>,
        refused: Option<Refusal>,
        now: Now,
    ) -> Result<Outcome, BadRequest> {
        let message_bytes = self.config.settings.session.message_bytes;
        let console = self.config.console.as_deref();
        let route = request::route(head, &self.config.authenticator, console, message_bytes)?;
        let (wish, credentials) = match route {
            Route::Answer(answer, counted) => return Ok(Outcome::Answer(answer, counted)),
            Route::Admission => {
                let outlook = self.config.admission.outlook(now.mono);
                let retry = outlook.is_err().then(|| RetryAfter::draw(&mut self.random));
                return Ok(Outcome::Answer(request::admission(retry), Handshake::Asked));
            }
            Route::Wish { wish, credentials } => (wish, credentials),
        };
        if let Some(why) = refused {
            return Ok(self.refuse(Refused::by(why), &wish));
        }
        Ok(match self.config.authenticator.authenticate(credentials.borrowed(), now.wall) {
            Ok(Decision::Known(identity)) => Outcome::Open(wish, identity),
            Ok(Decision::Redeem(ticket)) => Outcome::Redeem(wish, ticket),
            Err(why) => Outcome::Answer(request::unauthorized(why, cors_of(&wish)), Handshake::Unauthorized),
        })
    }

    fn refuse(&mut self, refused: Refused, wish: &Wish) -> Outcome {
        if let Wish::Connect { accepted, is_browser: true, .. } = wish {
            return Outcome::RefuseByClose(accepted.clone(), refused);
        }
        let retry = RetryAfter::draw(&mut self.random);
        Outcome::Answer(refused.answer(retry, cors_of(wish)), refused.outcome())
    }

    fn carry_out(&mut self, key: Key, outcome: Outcome, rest: &mut [u8], now: Now) {
        match outcome {
            Outcome::Answer(answer, outcome) => {
                self.metrics().handshake(outcome);
                match outcome {
                    // Nothing came behind these heads that was not read.
                    Handshake::Asked | Handshake::OverCapacity | Handshake::TooMany => {
                        self.sockets.finish(key, answer, now);
                    }
                    _ => self.sockets.finish_lingering(key, answer, now),
                }
            }
            Outcome::RefuseByClose(accepted, refused) => self.refuse_by_close(key, accepted, refused, now),
            Outcome::Open(wish, Identity { user, expires }) => {
                self.open(key, wish, &user, expires, rest, now);
            }
            Outcome::Redeem(wish, ticket) => {
                let early = rest.to_vec();
                let redeeming = Box::new(Redeeming { wish, ticket, asked: 0, early });
                let Some(connection) = self.sockets.slab.get(key) else { return };
                connection.state = State::Redeeming(redeeming);
                if !self.links.is_any_ready() {
                    self.answer_busy(key, now);
                    return;
                }
                self.ask_next_router(key, now);
            }
        }
    }

    /// For clients that cannot read an answer: the delay comes as the reason of a close.
    fn refuse_by_close(&mut self, key: Key, accepted: Bytes, refused: Refused, now: Now) {
        let code = refused.close_code();
        self.metrics().handshake(refused.outcome());
        self.metrics().closed(code);
        let reason = RetryAfter::draw(&mut self.random).close_reason();
        let mut session = Session::new(Role::Server);
        session.begin_close();
        let Some(connection) = self.sockets.slab.get(key) else { return };
        connection.state = State::WebSocket(session);
        self.sockets.wheel.arm(key.index(), now.mono + limits::CLOSE_GRACE);
        self.sockets.push_control(key, accepted);
        self.sockets.push_control(key, ws::close_frame(code.number(), &reason, None));
    }

    /// Shows the ticket to the next router, or refuses it when all have seen it.
    pub(super) fn ask_next_router(&mut self, key: Key, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Redeeming(redeeming) = &mut connection.state else { return };
        let Redeeming { ticket, asked, .. } = &mut **redeeming;
        if self.links.redeem(key.session(), ticket, asked) {
            return;
        }
        let answer = request::unauthorized(AuthError::Ticket, cors_of(&redeeming.wish));
        self.metrics().handshake(Handshake::Unauthorized);
        self.sockets.finish(key, answer, now);
    }

    /// A router knew the ticket.
    pub(super) fn redeemed(&mut self, key: Key, user: &str, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Redeeming(redeeming) = std::mem::replace(&mut connection.state, State::Leaving) else {
            return;
        };
        let Redeeming { wish, mut early, .. } = *redeeming;
        self.open(key, wish, user, None, &mut early, now);
    }

    pub(super) fn answer_busy(&mut self, key: Key, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let cors = match &connection.state {
            State::Redeeming(redeeming) => cors_of(&redeeming.wish).map(str::to_owned),
            State::Posting(posting) => posting.cors.as_deref().map(str::to_owned),
            _ => None,
        };
        self.metrics().handshake(Handshake::Busy);
        self.sockets.finish(key, request::busy(cors.as_deref()), now);
    }

    /// What comes while a router looks at the ticket: a posted body, or an impatient client.
    pub(super) fn keep_early(&mut self, key: Key, data: &[u8], now: Now) {
        let bytes_max = self.config.settings.session.message_bytes;
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Redeeming(redeeming) = &mut connection.state else { return };
        if redeeming.early.len() + data.len() > bytes_max {
            let answer = request::error(413, "too_large", "wait for the answer first", None);
            self.metrics().handshake(Handshake::BadRequest);
            self.sockets.finish(key, answer, now);
            return;
        }
        redeeming.early.extend_from_slice(data);
    }

    fn open(
        &mut self,
        key: Key,
        wish: Wish,
        user: &str,
        expires: Option<wire::time::Wall>,
        rest: &mut [u8],
        now: Now,
    ) {
        let is_session = !matches!(wish, Wish::Post { .. });
        if is_session && !self.config.census.enter(user, self.config.settings.connections_per_user) {
            let refusal = self.refuse(Refused::User, &wish);
            self.carry_out(key, refusal, &mut [], now);
            return;
        }
        match wish {
            Wish::Connect { accepted, device, .. } => {
                self.open_websocket(key, &accepted, now);
                self.join(key, user, device, expires, now);
                if !rest.is_empty() {
                    self.read_frames(key, rest, now);
                }
            }
            Wish::Events { since, device, cors } => {
                self.open_events(key, cors.as_deref(), now);
                self.join(key, user, device, expires, now);
                if let Some((created_at, id)) = since {
                    self.begin_replay(key, created_at, id, now);
                }
            }
            Wish::Post { cors, .. } if !self.may_post(user, now) => {
                self.metrics().handshake(Handshake::TooMany);
                let answer = self.too_many_posts(cors.as_deref());
                self.sockets.finish_lingering(key, answer, now);
            }
            Wish::Post { body_bytes, wants_continue, cors } => {
                self.begin_post(key, user, cors, body_bytes, wants_continue, rest, now);
            }
        }
    }

    /// The 101 and the welcome leave in one piece.
    fn open_websocket(&mut self, key: Key, accepted: &Bytes, now: Now) {
        let welcome = self.welcome(key, now);
        let mut first = bytes::BytesMut::with_capacity(accepted.len() + welcome.len() + 8);
        first.extend_from_slice(accepted);
        ws::put_piece(&mut first, OpCode::Data(Data::Text), welcome.as_bytes(), None, true);
        let Some(connection) = self.sockets.slab.get(key) else { return };
        connection.state = State::WebSocket(Session::new(Role::Server));
        self.open_websockets += 1;
        self.config.metrics.handshake(Handshake::WebSocket);
        self.sockets.push_control(key, first.freeze());
    }

    pub(super) fn welcome(&self, key: Key, now: Now) -> String {
        ServerMessage::Welcome(Welcome {
            session: self.session_name(key),
            node: self.config.node.clone(),
            ping_interval_ms: u64::try_from(self.config.settings.ping_interval.as_millis())
                .unwrap_or(u64::MAX),
            server_time: now.wall,
            reconnect: self.config.settings.reconnect,
        })
        .to_json()
    }
}

fn bad(why: BadRequest) -> Outcome {
    Outcome::Answer(why.response(), Handshake::BadRequest)
}

fn cors_of(wish: &Wish) -> Option<&str> {
    match wish {
        Wish::Connect { .. } => None,
        Wish::Events { cors, .. } | Wish::Post { cors, .. } => cors.as_deref(),
    }
}
