//! The frames between a gateway shard and a router: length-prefixed, versioned, binary.
//!
//! A frame is `u32 length, u8 kind, body`; the length counts kind and body. Integers are big-endian, a string
//! or byte run is `u32 length, bytes`, a list is `u32 count, items`. A reader skips kinds it does not know
//! and ignores bytes behind the fields it knows, so a newer minor version can add both. A different major
//! version is refused at [`Frame::Hello`].
//!
//! Delivery frames (`Deliver`, `Broadcast`) and `ClientMessage` spend one credit each; all else is free but
//! answers something that was paid for, or is bounded by the number of users and topics.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::limits::LINK_FRAME_BYTES_MAX;
use crate::time::Wall;

/// Frames of another major version are not understood.
pub const MAJOR: u16 = 1;
/// Raised when a frame kind or a trailing field is added.
pub const MINOR: u16 = 0;

/// A connection as its shard names it. Opaque to the router; never reused within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// What became of a delivery at a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryResult {
    /// Queued for this many sockets.
    Sent { sockets: u32 },
    /// The user (or topic) has no socket here.
    None,
    /// Every socket's outbox was full; they were told `gap` or cut.
    Slow,
}

/// Who is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    User(String),
    /// The session id of `welcome`.
    Session(String),
}

/// One frame. S→R: a shard says it; R→S: a router says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Both, first. A router leaves `shard` 0. `boot` differs at every start of the process.
    Hello { major: u16, minor: u16, node: String, shard: u16, boot: u64 },
    /// R→S: the partitions this router owns, of `count`. The highest (epoch, generation) wins.
    Owns { epoch: u64, generation: u64, count: u32, partitions: Vec<u32> },
    /// S→R: the users and topics of one partition that have a connection here; ended by `SnapshotEnd`.
    Snapshot { partition: u32, users: Vec<String>, topics: Vec<String> },
    /// S→R.
    SnapshotEnd { partition: u32 },
    /// S→R: the user's first connection on this shard.
    Announce { user: String },
    /// S→R: the user's last connection on this shard is gone.
    Withdraw { user: String },
    /// R→S: send to the user's sockets. `text` is a complete server message; `tag` comes back in `Result`.
    Deliver { tag: u64, id: Uuid, created_at: Wall, user: String, text: Bytes },
    /// R→S: send to the topic's subscribers, or to everyone.
    Broadcast { tag: u64, id: Uuid, created_at: Wall, topic: Option<String>, text: Bytes },
    /// S→R.
    Result { tag: u64, id: Uuid, result: DeliveryResult },
    /// R→S: a message that is no notification (dismiss, subscribed), for all the user's sockets but one.
    Tell { user: String, except: Option<SessionKey>, text: Bytes },
    /// R→S: the durable subscriptions of a user of this shard, complete.
    Topics { user: String, topics: Vec<String> },
    /// S→R: `text` is the client's JSON.
    ClientMessage { user: String, session: SessionKey, text: Bytes },
    /// R→S: `text` is a complete server message for that one session.
    Reply { session: SessionKey, text: Bytes },
    /// Both: the other side may send this many more paid frames.
    Credit { frames: u32 },
    /// R→S: close these sockets with 4401.
    Revoke { who: Revoked },
    /// S→R: the shard's first subscriber of the topic.
    Subscribe { topic: String },
    /// S→R: the shard's last subscriber is gone.
    Unsubscribe { topic: String },
    /// S→R: is this one-use ticket good? `request` comes back.
    Redeem { request: u64, ticket: String },
    /// R→S: the ticket's user, or nobody.
    Redeemed { request: u64, user: Option<String> },
    /// R→S: frames were dropped for want of credit; tell every socket of the shard to sync.
    Gap { since: Wall },
    /// Both.
    Ping { t: u64 },
    /// Both.
    Pong { t: u64 },
}

/// The bytes are not a link frame. The link is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("a frame of {0} bytes is more than {LINK_FRAME_BYTES_MAX}")]
    TooLong(usize),
    #[error("an empty frame")]
    Empty,
    #[error("frame kind {kind} ends inside its fields")]
    Truncated { kind: u8 },
    #[error("frame kind {kind}: {what}")]
    Malformed { kind: u8, what: &'static str },
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const OWNS: u8 = 2;
    pub(super) const SNAPSHOT: u8 = 3;
    pub(super) const SNAPSHOT_END: u8 = 4;
    pub(super) const ANNOUNCE: u8 = 5;
    pub(super) const WITHDRAW: u8 = 6;
    pub(super) const DELIVER: u8 = 7;
    pub(super) const BROADCAST: u8 = 8;
    pub(super) const RESULT: u8 = 9;
    pub(super) const TELL: u8 = 10;
    pub(super) const TOPICS: u8 = 11;
    pub(super) const CLIENT_MESSAGE: u8 = 12;
    pub(super) const REPLY: u8 = 13;
    pub(super) const CREDIT: u8 = 14;
    pub(super) const REVOKE: u8 = 15;
    pub(super) const SUBSCRIBE: u8 = 16;
    pub(super) const UNSUBSCRIBE: u8 = 17;
    pub(super) const REDEEM: u8 = 18;
    pub(super) const REDEEMED: u8 = 19;
    pub(super) const GAP: u8 = 20;
    pub(super) const PING: u8 = 21;
    pub(super) const PONG: u8 = 22;
}

impl Frame {
    /// Whether sending this frame spends a credit.
    pub fn is_paid(&self) -> bool {
        matches!(self, Frame::Deliver { .. } | Frame::Broadcast { .. } | Frame::ClientMessage { .. })
    }

    /// Appends the frame to `out`. The caller keeps texts within [`LINK_FRAME_BYTES_MAX`].
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u32(0);
        self.encode_body(out);
        let length = out.len() - start - 4;
        assert!(length <= LINK_FRAME_BYTES_MAX, "a link frame of {length} bytes");
        out[start..start + 4].copy_from_slice(&(length as u32).to_be_bytes());
    }

    #[expect(clippy::too_many_lines, reason = "one arm a frame; splitting would only scatter the format")]
    fn encode_body(&self, out: &mut BytesMut) {
        match self {
            Frame::Hello { major, minor, node, shard, boot } => {
                out.put_u8(kind::HELLO);
                out.put_u16(*major);
                out.put_u16(*minor);
                put_text(out, node);
                out.put_u16(*shard);
                out.put_u64(*boot);
            }
            Frame::Owns { epoch, generation, count, partitions } => {
                out.put_u8(kind::OWNS);
                out.put_u64(*epoch);
                out.put_u64(*generation);
                out.put_u32(*count);
                out.put_u32(partitions.len() as u32);
                for partition in partitions {
                    out.put_u32(*partition);
                }
            }
            Frame::Snapshot { partition, users, topics } => {
                out.put_u8(kind::SNAPSHOT);
                out.put_u32(*partition);
                put_texts(out, users);
                put_texts(out, topics);
            }
            Frame::SnapshotEnd { partition } => {
                out.put_u8(kind::SNAPSHOT_END);
                out.put_u32(*partition);
            }
            Frame::Announce { user } => put_named(out, kind::ANNOUNCE, user),
            Frame::Withdraw { user } => put_named(out, kind::WITHDRAW, user),
            Frame::Deliver { tag, id, created_at, user, text } => {
                out.put_u8(kind::DELIVER);
                out.put_u64(*tag);
                out.put_slice(id.as_bytes());
                out.put_i64(created_at.0);
                put_text(out, user);
                put_run(out, text);
            }
            Frame::Broadcast { tag, id, created_at, topic, text } => {
                out.put_u8(kind::BROADCAST);
                out.put_u64(*tag);
                out.put_slice(id.as_bytes());
                out.put_i64(created_at.0);
                put_optional_text(out, topic.as_deref());
                put_run(out, text);
            }
            Frame::Result { tag, id, result } => {
                out.put_u8(kind::RESULT);
                out.put_u64(*tag);
                out.put_slice(id.as_bytes());
                match result {
                    DeliveryResult::Sent { sockets } => {
                        out.put_u8(0);
                        out.put_u32(*sockets);
                    }
                    DeliveryResult::None => out.put_u8(1),
                    DeliveryResult::Slow => out.put_u8(2),
                }
            }
            Frame::Tell { user, except, text } => {
                out.put_u8(kind::TELL);
                put_text(out, user);
                out.put_u8(u8::from(except.is_some()));
                out.put_u64(except.map_or(0, |session| session.0));
                put_run(out, text);
            }
            Frame::Topics { user, topics } => {
                out.put_u8(kind::TOPICS);
                put_text(out, user);
                put_texts(out, topics);
            }
            Frame::ClientMessage { user, session, text } => {
                out.put_u8(kind::CLIENT_MESSAGE);
                put_text(out, user);
                out.put_u64(session.0);
                put_run(out, text);
            }
            Frame::Reply { session, text } => {
                out.put_u8(kind::REPLY);
                out.put_u64(session.0);
                put_run(out, text);
            }
            Frame::Credit { frames } => {
                out.put_u8(kind::CREDIT);
                out.put_u32(*frames);
            }
            Frame::Revoke { who } => {
                out.put_u8(kind::REVOKE);
                let (tag, name) = match who {
                    Revoked::User(user) => (0, user),
                    Revoked::Session(session) => (1, session),
                };
                out.put_u8(tag);
                put_text(out, name);
            }
            Frame::Subscribe { topic } => put_named(out, kind::SUBSCRIBE, topic),
            Frame::Unsubscribe { topic } => put_named(out, kind::UNSUBSCRIBE, topic),
            Frame::Redeem { request, ticket } => {
                out.put_u8(kind::REDEEM);
                out.put_u64(*request);
                put_text(out, ticket);
            }
            Frame::Redeemed { request, user } => {
                out.put_u8(kind::REDEEMED);
                out.put_u64(*request);
                put_optional_text(out, user.as_deref());
            }
            Frame::Gap { since } => {
                out.put_u8(kind::GAP);
                out.put_i64(since.0);
            }
            Frame::Ping { t } => put_time(out, kind::PING, *t),
            Frame::Pong { t } => put_time(out, kind::PONG, *t),
        }
    }

    /// Takes the next known frame off the front of `input`; `None` until one is complete. Frames of unknown
    /// kinds are dropped on the way.
    pub fn decode(input: &mut BytesMut) -> Result<Option<Frame>, LinkError> {
        loop {
            let Some(prefix) = input.first_chunk::<4>() else { return Ok(None) };
            let length = u32::from_be_bytes(*prefix) as usize;
            if length > LINK_FRAME_BYTES_MAX {
                return Err(LinkError::TooLong(length));
            }
            if length == 0 {
                return Err(LinkError::Empty);
            }
            if input.len() < 4 + length {
                return Ok(None);
            }
            input.advance(4);
            let mut body = input.split_to(length).freeze();
            let kind = body.get_u8();
            if let Some(frame) = (Reader { kind, body }).frame()? {
                return Ok(Some(frame));
            }
        }
    }
}

fn put_run(out: &mut BytesMut, run: &[u8]) {
    out.put_u32(run.len() as u32);
    out.put_slice(run);
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_run(out, text.as_bytes());
}

fn put_named(out: &mut BytesMut, kind: u8, name: &str) {
    out.put_u8(kind);
    put_text(out, name);
}

fn put_time(out: &mut BytesMut, kind: u8, t: u64) {
    out.put_u8(kind);
    out.put_u64(t);
}

fn put_optional_text(out: &mut BytesMut, text: Option<&str>) {
    out.put_u8(u8::from(text.is_some()));
    put_text(out, text.unwrap_or_default());
}

fn put_texts(out: &mut BytesMut, texts: &[String]) {
    out.put_u32(texts.len() as u32);
    for text in texts {
        put_text(out, text);
    }
}

/// The body of one frame, read field by field.
struct Reader {
    kind: u8,
    body: Bytes,
}

impl Reader {
    fn frame(mut self) -> Result<Option<Frame>, LinkError> {
        let frame = match self.kind {
            kind::HELLO => Frame::Hello {
                major: self.u16()?,
                minor: self.u16()?,
                node: self.text()?,
                shard: self.u16()?,
                boot: self.u64()?,
            },
            kind::OWNS => Frame::Owns {
                epoch: self.u64()?,
                generation: self.u64()?,
                count: self.u32()?,
                partitions: self.list(4, Reader::u32)?,
            },
            kind::SNAPSHOT => {
                Frame::Snapshot { partition: self.u32()?, users: self.texts()?, topics: self.texts()? }
            }
            kind::SNAPSHOT_END => Frame::SnapshotEnd { partition: self.u32()? },
            kind::ANNOUNCE => Frame::Announce { user: self.text()? },
            kind::WITHDRAW => Frame::Withdraw { user: self.text()? },
            kind::DELIVER => Frame::Deliver {
                tag: self.u64()?,
                id: self.id()?,
                created_at: self.wall()?,
                user: self.text()?,
                text: self.run()?,
            },
            kind::BROADCAST => Frame::Broadcast {
                tag: self.u64()?,
                id: self.id()?,
                created_at: self.wall()?,
                topic: self.optional_text()?,
                text: self.run()?,
            },
            kind::RESULT => Frame::Result { tag: self.u64()?, id: self.id()?, result: self.result()? },
            kind::TELL => Frame::Tell { user: self.text()?, except: self.except()?, text: self.run()? },
            kind::TOPICS => Frame::Topics { user: self.text()?, topics: self.texts()? },
            kind::CLIENT_MESSAGE => Frame::ClientMessage {
                user: self.text()?,
                session: SessionKey(self.u64()?),
                text: self.run()?,
            },
            kind::REPLY => Frame::Reply { session: SessionKey(self.u64()?), text: self.run()? },
            kind::CREDIT => Frame::Credit { frames: self.u32()? },
            kind::REVOKE => Frame::Revoke { who: self.revoked()? },
            kind::SUBSCRIBE => Frame::Subscribe { topic: self.text()? },
            kind::UNSUBSCRIBE => Frame::Unsubscribe { topic: self.text()? },
            kind::REDEEM => Frame::Redeem { request: self.u64()?, ticket: self.text()? },
            kind::REDEEMED => Frame::Redeemed { request: self.u64()?, user: self.optional_text()? },
            kind::GAP => Frame::Gap { since: self.wall()? },
            kind::PING => Frame::Ping { t: self.u64()? },
            kind::PONG => Frame::Pong { t: self.u64()? },
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, LinkError> {
        if self.body.len() < bytes {
            return Err(LinkError::Truncated { kind: self.kind });
        }
        Ok(self.body.split_to(bytes))
    }

    fn malformed(&self, what: &'static str) -> LinkError {
        LinkError::Malformed { kind: self.kind, what }
    }

    fn u8(&mut self) -> Result<u8, LinkError> {
        Ok(self.take(1)?.get_u8())
    }

    fn u16(&mut self) -> Result<u16, LinkError> {
        Ok(self.take(2)?.get_u16())
    }

    fn u32(&mut self) -> Result<u32, LinkError> {
        Ok(self.take(4)?.get_u32())
    }

    fn u64(&mut self) -> Result<u64, LinkError> {
        Ok(self.take(8)?.get_u64())
    }

    fn wall(&mut self) -> Result<Wall, LinkError> {
        Ok(Wall(self.take(8)?.get_i64()))
    }

    fn id(&mut self) -> Result<Uuid, LinkError> {
        let bytes = self.take(16)?;
        Uuid::from_slice(&bytes).map_err(|_| self.malformed("an id has 16 bytes"))
    }

    fn run(&mut self) -> Result<Bytes, LinkError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, LinkError> {
        let run = self.run()?;
        String::from_utf8(run.into()).map_err(|_| self.malformed("a name is not UTF-8"))
    }

    fn optional_text(&mut self) -> Result<Option<String>, LinkError> {
        let present = self.u8()? != 0;
        let text = self.text()?;
        Ok(present.then_some(text))
    }

    /// `item_bytes_min` keeps a lying count from reserving memory that the frame cannot fill.
    fn list<T>(
        &mut self,
        item_bytes_min: usize,
        item: fn(&mut Reader) -> Result<T, LinkError>,
    ) -> Result<Vec<T>, LinkError> {
        let count = self.u32()? as usize;
        if count > self.body.len() / item_bytes_min {
            return Err(LinkError::Truncated { kind: self.kind });
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn texts(&mut self) -> Result<Vec<String>, LinkError> {
        self.list(4, Reader::text)
    }

    fn result(&mut self) -> Result<DeliveryResult, LinkError> {
        match self.u8()? {
            0 => Ok(DeliveryResult::Sent { sockets: self.u32()? }),
            1 => Ok(DeliveryResult::None),
            2 => Ok(DeliveryResult::Slow),
            _ => Err(self.malformed("unknown delivery result")),
        }
    }

    fn except(&mut self) -> Result<Option<SessionKey>, LinkError> {
        let present = self.u8()? != 0;
        let session = SessionKey(self.u64()?);
        Ok(present.then_some(session))
    }

    fn revoked(&mut self) -> Result<Revoked, LinkError> {
        match self.u8()? {
            0 => Ok(Revoked::User(self.text()?)),
            1 => Ok(Revoked::Session(self.text()?)),
            _ => Err(self.malformed("unknown kind of revocation")),
        }
    }
}

#[cfg(test)]
mod tests;
