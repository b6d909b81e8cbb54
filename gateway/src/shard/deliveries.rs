//! What routers say to a shard: deliveries, broadcasts, replies, topics, revocations.
//!
//! Each delivery is answered with what became of it, each paid frame gives its credit back. Called by the
//! porch for every link frame, and by `shard` for the work that a broadcast leaves.

use bytes::Bytes;
use wire::close::CloseCode;
use wire::link::{DeliveryResult, Frame, Revoked, SessionKey};
use wire::message::ServerMessage;
use wire::time::Wall;

use crate::shard::connection::State;
use crate::shard::fanout::{self, Receipt, Room};
use crate::shard::links::RouterIndex;
use crate::shard::sockets::Encoded;
use crate::shard::{Key, Now, Shard};

impl Shard {
    /// One frame of a router's.
    pub fn handle_link_frame(&mut self, router: RouterIndex, frame: Frame, now: Now) {
        self.metrics().link_frames_in.inc();
        let Some(frame) = self.links.handle_frame(router, frame, now.mono) else { return };
        match frame {
            Frame::Deliver { tag, id, created_at, user, text } => {
                let message = Encoded::notification(text, created_at, id);
                self.deliver(Receipt { router, tag, id }, &user, message, now);
            }
            Frame::Broadcast { tag, id, created_at, topic, text } => {
                let message = Encoded::notification(text, created_at, id);
                self.broadcast(Receipt { router, tag, id }, topic.as_deref(), message, now);
            }
            Frame::Tell { user, except, text } => self.tell(&user, except, text, now),
            Frame::Topics { user, topics } => self.set_topics(&user, &topics),
            Frame::Reply { session, text } => self.handle_reply(Key(session.0), &text, now),
            Frame::Revoke { who } => self.revoke(&who, now),
            Frame::Redeemed { request, user } => self.handle_redeemed(Key(request), user.as_deref(), now),
            Frame::Gap { since } => self.tell_gap(since, now),
            // The rest is said by shards, or is the links' own.
            _ => {}
        }
    }

    fn deliver(&mut self, receipt: Receipt, user: &str, mut message: Encoded, now: Now) {
        let Receipt { router, tag, id } = receipt;
        let result = match self.registry.find(user) {
            None => DeliveryResult::None,
            Some(found) => {
                self.fanout.heed_others(now.mono);
                let which = (id, self.hasher.hash_one(user));
                let have = self.doubles.have(which, router).unwrap_or_default();
                let tally =
                    fanout::to_user(&mut self.sockets, &self.registry, found, have, &mut message, now);
                let result = tally.result_beside(have.len());
                if self.config.routers > 1 && matches!(result, DeliveryResult::Sent { .. }) {
                    let to = self.keys_of(found, |_| true).into();
                    self.doubles.note(which, router, to);
                }
                result
            }
        };
        self.links.result(router, tag, id, result);
        self.links.worked_off(router);
    }

    fn broadcast(&mut self, receipt: Receipt, topic: Option<&str>, message: Encoded, now: Now) {
        let room = match topic {
            None => Some(Room::Everyone),
            Some(topic) => self.registry.topic(topic).map(Room::Topic),
        };
        let started = room.map(|room| self.fanout.start(room, message, Some(receipt), now.mono));
        let refused = match started {
            Some(Ok(())) => return,
            Some(Err(fanout::TooManyBroadcasts)) => DeliveryResult::Slow,
            None => DeliveryResult::None,
        };
        let Receipt { router, tag, id } = receipt;
        self.links.result(router, tag, id, refused);
        self.links.worked_off(router);
    }

    /// A bounded piece of the broadcasts under way.
    pub(super) fn continue_fanout(&mut self, now: Now) {
        let mut finished = std::mem::take(&mut self.finished);
        self.fanout.step(&mut self.sockets, &self.registry, now, &mut finished);
        for done in finished.drain(..) {
            self.metrics().fanout_seconds.observe(now.mono.since(done.arrived));
            if let Some(Receipt { router, tag, id }) = done.receipt {
                self.links.result(router, tag, id, done.result);
                self.links.worked_off(router);
            }
        }
        self.finished = finished;
    }

    fn tell(&mut self, user: &str, except: Option<SessionKey>, text: Bytes, now: Now) {
        let Some(user) = self.registry.find(user) else { return };
        let except = except.map(|session| Key(session.0));
        let mut message = Encoded::message(text);
        fanout::to_user(&mut self.sockets, &self.registry, user, except.as_slice(), &mut message, now);
    }

    fn set_topics(&mut self, user: &str, topics: &[String]) {
        let Some(id) = self.registry.find(user) else { return };
        let bounded = &topics[..topics.len().min(wire::limits::TOPICS_PER_USER_MAX)];
        let changes = self.registry.set_topics(id, bounded);
        self.tell_topic_changes(changes);
    }

    fn revoke(&mut self, who: &Revoked, now: Now) {
        let revoked = match who {
            Revoked::User(user) => match self.registry.find(user) {
                Some(user) => self.keys_of(user, |_| true),
                None => Vec::new(),
            },
            Revoked::Session(name) => self.session_of(name).into_iter().collect(),
        };
        for key in revoked {
            if self.sockets.slab.get(key).is_some_and(|connection| connection.is_open()) {
                self.close_session(key, CloseCode::Auth, "revoked", now);
            }
        }
    }

    /// A router dropped frames: every socket is told to sync.
    fn tell_gap(&mut self, since: Wall, now: Now) {
        let gap = ServerMessage::Gap { since }.to_json();
        let message = Encoded::message(Bytes::from(gap));
        // Should there be too many broadcasts, they are of the same router, which will find out and say gap
        // again.
        let _refused = self.fanout.start(Room::Everyone, message, None, now.mono);
    }

    /// A link that was lost stands again and its router knows who is here, or others have taken all that was that
    /// router's and know it: what was lost on the way is in the inbox, and a sync finds it.
    pub(super) fn tell_what_links_lost(&mut self, now: Now) {
        for router in 0..self.lost_since.len() {
            let index = router as RouterIndex;
            if self.lost_since[router].is_some()
                && (self.links.has_told_all(index) || self.links.is_succeeded(index))
                && let Some(since) = self.lost_since[router].take()
            {
                self.tell_gap(since, now);
            }
        }
    }

    fn handle_redeemed(&mut self, key: Key, user: Option<&str>, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if !matches!(connection.state, State::Redeeming(_)) {
            return;
        }
        match user.and_then(crate::auth::checked_name) {
            Some(user) => self.redeemed(key, &user, now),
            None => self.ask_next_router(key, now),
        }
    }
}
