//! A shard's links to the routers: who owns which partition, who has been told what, and how much each side
//! may still send.
//!
//! Owns the protocol of `wire::link` from the shard's side: hello, ownership (the highest epoch and
//! generation is obeyed), snapshots, credit both ways, pings. Never touches a socket: frames come out of
//! [`Links::poll_output`]. Without an owner for a partition, presence goes to every router and client
//! messages wait, bounded. Called by `shard`.

mod ownership;
mod snapshot;

use std::collections::VecDeque;

use bytes::Bytes;
use uuid::Uuid;
use wire::limits::LINK_FRAME_BYTES_MAX;
use wire::link::{DeliveryResult, Frame, MAJOR, MINOR, SessionKey};
use wire::time::Mono;

use crate::limits;
use crate::shard::registry::Registry;
use ownership::Ownership;
use snapshot::Snapshot;

/// A router, by its place in the list that the node was given.
pub type RouterIndex = u16;

/// What the porch must do.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkOutput {
    Frame {
        router: RouterIndex,
        frame: Frame,
    },
    /// Close the link and make it anew.
    Cut {
        router: RouterIndex,
        why: &'static str,
    },
}

/// A client's message cannot be taken now: too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// Where a client's message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// On its way to the owner.
    Now,
    /// It waits for an owner or for credit, until [`Links::poll_overdue`] names it.
    Waits,
}

/// The links of one shard.
#[derive(Debug)]
pub struct Links {
    hello: Frame,
    routers: Vec<Router>,
    ownership: Ownership,
    waiting: VecDeque<Waiting>,
    output: VecDeque<LinkOutput>,
    /// Which router the next ticket is shown to first.
    next_redeemer: usize,
    is_congested: bool,
}

#[derive(Debug, Default)]
struct Router {
    is_up: bool,
    /// Its hello was read: it may be spoken to.
    is_ready: bool,
    node: String,
    /// Paid frames that it lets us send.
    credit: u64,
    /// Paid frames of its that were worked off and not yet given back.
    worked_off: u32,
    /// Client messages that wait for its credit.
    waiting: usize,
    queued: usize,
    last_heard: Mono,
    next_ping: Mono,
    snapshot: Option<Snapshot>,
}

/// A client message without a router to take it.
#[derive(Debug)]
struct Waiting {
    user: String,
    session: SessionKey,
    text: Bytes,
    since: Mono,
}

impl Links {
    pub fn new(node: &str, shard: u16, boot: u64, routers: usize) -> Links {
        assert!(routers <= limits::ROUTERS_MAX, "the configuration's check bounds the routers");
        Links {
            hello: Frame::Hello { major: MAJOR, minor: MINOR, node: node.to_owned(), shard, boot },
            routers: (0..routers).map(|_| Router::default()).collect(),
            ownership: Ownership::default(),
            waiting: VecDeque::new(),
            output: VecDeque::new(),
            next_redeemer: shard as usize,
            is_congested: false,
        }
    }

    pub fn handle_up(&mut self, router: RouterIndex, now: Mono) {
        self.handle_down(router);
        let state = &mut self.routers[router as usize];
        state.is_up = true;
        state.last_heard = now;
        state.next_ping = now + limits::LINK_PING_INTERVAL;
        self.queue(router, self.hello.clone());
        self.queue(router, Frame::Credit { frames: limits::LINK_CREDIT_FRAMES });
    }

    /// What was queued for the link is gone; a new link starts with a snapshot.
    pub fn handle_down(&mut self, router: RouterIndex) {
        self.routers[router as usize] = Router::default();
        self.output.retain(|output| !matches!(output, LinkOutput::Frame { router: to, .. } if *to == router));
    }

    /// Reads one frame. `Some` is for the shard; all else was the links' own business.
    pub fn handle_frame(&mut self, router: RouterIndex, frame: Frame, now: Mono) -> Option<Frame> {
        let state = &mut self.routers[router as usize];
        if !state.is_up {
            return None;
        }
        state.last_heard = now;
        match frame {
            Frame::Hello { major, node, .. } => self.greeted(router, major, node),
            _ if !state.is_ready => self.cut(router, "spoke before its hello"),
            Frame::Owns { epoch, generation, count, partitions } => {
                self.owned(router, (epoch, generation), count, &partitions);
            }
            Frame::Credit { frames } => {
                state.credit = state.credit.saturating_add(u64::from(frames));
                self.send_waiting();
            }
            Frame::Ping { t } => self.queue(router, Frame::Pong { t }),
            Frame::Pong { .. } => {}
            for_the_shard => return Some(for_the_shard),
        }
        None
    }

    fn greeted(&mut self, router: RouterIndex, major: u16, node: String) {
        if major != MAJOR {
            self.cut(router, "speaks another version of the link");
            return;
        }
        let state = &mut self.routers[router as usize];
        state.is_ready = true;
        state.node = node;
    }

    fn owned(&mut self, router: RouterIndex, stamp: (u64, u64), count: u32, partitions: &[u32]) {
        if count == 0 || count > limits::PARTITIONS_MAX || partitions.iter().any(|p| *p >= count) {
            self.cut(router, "owns partitions that there are not");
            return;
        }
        self.ownership.claim(router, stamp, count, partitions);
        let told = self.routers[router as usize].snapshot.get_or_insert_default();
        let owned = (0..count).filter(|p| self.ownership.owner(*p) == Some(router));
        told.ask_for(count, owned);
        self.send_waiting();
    }

    /// The user's first connection came.
    pub fn announce(&mut self, user: &str) {
        self.tell_owner(user, |user| Frame::Announce { user });
    }

    /// The user's last connection is gone.
    pub fn withdraw(&mut self, user: &str) {
        self.tell_owner(user, |user| Frame::Withdraw { user });
    }

    pub fn subscribe(&mut self, topic: &str) {
        self.tell_owner(topic, |topic| Frame::Subscribe { topic });
    }

    pub fn unsubscribe(&mut self, topic: &str) {
        self.tell_owner(topic, |topic| Frame::Unsubscribe { topic });
    }

    fn tell_owner(&mut self, name: &str, frame: fn(String) -> Frame) {
        let partition = self.ownership.partition(name);
        match partition.and_then(|partition| self.ownership.owner(partition)) {
            Some(owner) => self.tell(owner, partition, frame(name.to_owned())),
            None => {
                for router in 0..self.routers.len() {
                    self.tell(router as RouterIndex, partition, frame(name.to_owned()));
                }
            }
        }
    }

    /// Tells a router about a name, behind what a snapshot under way has gathered of its partition.
    fn tell(&mut self, router: RouterIndex, partition: Option<u32>, frame: Frame) {
        if !self.routers[router as usize].is_ready {
            return; // The snapshot of the next link has it.
        }
        let gathered = partition.and_then(|partition| {
            self.routers[router as usize].snapshot.as_mut()?.flush_partition(partition)
        });
        if let Some(gathered) = gathered {
            self.queue(router, gathered);
        }
        self.queue(router, frame);
    }

    /// Hands a client's message to the router that owns the user, now or when it has one.
    pub fn send_client_message(
        &mut self,
        user: &str,
        session: SessionKey,
        text: Bytes,
        now: Mono,
    ) -> Result<Sent, Busy> {
        assert!(text.len() < LINK_FRAME_BYTES_MAX / 2, "client messages are bounded");
        let waiting = Waiting { user: user.to_owned(), session, text, since: now };
        let Err((waiting, wanted)) = self.try_send(waiting) else { return Ok(Sent::Now) };
        if self.waiting.len() == limits::LINK_PENDING_MESSAGES_MAX {
            return Err(Busy);
        }
        if let Some(router) = wanted {
            self.routers[router as usize].waiting += 1;
        }
        self.waiting.push_back(waiting);
        Ok(Sent::Waits)
    }

    /// Err: the message back, and the router whose credit it waits for, if one owns it.
    fn try_send(&mut self, message: Waiting) -> Result<(), (Waiting, Option<RouterIndex>)> {
        let partition = self.ownership.partition(&message.user);
        let owner = partition.and_then(|partition| self.ownership.owner(partition));
        let Some(owner) = owner.filter(|router| self.routers[*router as usize].is_ready) else {
            return Err((message, None));
        };
        let state = &mut self.routers[owner as usize];
        if state.credit == 0 || state.waiting > 0 {
            return Err((message, Some(owner)));
        }
        state.credit -= 1;
        let Waiting { user, session, text, .. } = message;
        self.queue(owner, Frame::ClientMessage { user, session, text });
        Ok(())
    }

    fn send_waiting(&mut self) {
        self.routers.iter_mut().for_each(|router| router.waiting = 0);
        for message in std::mem::take(&mut self.waiting) {
            if let Err((message, wanted)) = self.try_send(message) {
                if let Some(router) = wanted {
                    self.routers[router as usize].waiting += 1;
                }
                self.waiting.push_back(message);
            }
        }
    }

    /// A client message that waited too long: its sender is to be told `busy`.
    pub fn poll_overdue(&mut self, now: Mono) -> Option<SessionKey> {
        let overdue = |message: &Waiting| now.since(message.since) >= limits::LINK_PENDING_WAIT;
        if !self.waiting.front().is_some_and(overdue) {
            return None;
        }
        let message = self.waiting.pop_front()?;
        let partition = self.ownership.partition(&message.user);
        if let Some(owner) = partition.and_then(|partition| self.ownership.owner(partition)) {
            let state = &mut self.routers[owner as usize];
            state.waiting = state.waiting.saturating_sub(1);
        }
        Some(message.session)
    }

    /// Answers a delivery.
    pub fn result(&mut self, router: RouterIndex, tag: u64, id: Uuid, result: DeliveryResult) {
        if self.routers[router as usize].is_ready {
            self.queue(router, Frame::Result { tag, id, result });
        }
    }

    /// A paid frame of the router's was worked off: it may send another.
    pub fn worked_off(&mut self, router: RouterIndex) {
        let state = &mut self.routers[router as usize];
        if !state.is_ready {
            return;
        }
        state.worked_off += 1;
        if state.worked_off >= limits::LINK_CREDIT_BATCH {
            let frames = std::mem::take(&mut state.worked_off);
            self.queue(router, Frame::Credit { frames });
        }
    }

    /// Shows a ticket to the next router that has not seen it (`seen` has a bit for each that has). False:
    /// there is none left.
    pub fn redeem(&mut self, session: SessionKey, ticket: &str, seen: &mut u64) -> bool {
        let routers = self.routers.len();
        for turn in 0..routers {
            let router = (self.next_redeemer + turn) % routers;
            if *seen & (1 << router) != 0 || !self.routers[router].is_ready {
                continue;
            }
            *seen |= 1 << router;
            self.next_redeemer = (router + 1) % routers;
            let frame = Frame::Redeem { request: session.0, ticket: ticket.to_owned() };
            self.queue(router as RouterIndex, frame);
            return true;
        }
        false
    }

    /// Whether any router can be spoken to.
    pub fn is_any_ready(&self) -> bool {
        self.ready_count() > 0
    }

    /// Routers that can be spoken to.
    pub fn ready_count(&self) -> usize {
        self.routers.iter().filter(|router| router.is_ready).count()
    }

    /// The name that a router gave itself.
    pub fn router_name(&self, router: RouterIndex) -> &str {
        &self.routers[router as usize].node
    }

    pub fn set_congested(&mut self, congested: bool) {
        self.is_congested = congested;
    }

    /// Goes on with snapshots, a bounded piece. True: there is more.
    pub fn continue_snapshots(&mut self, registry: &Registry) -> bool {
        if self.is_congested {
            return false;
        }
        for router in 0..self.routers.len() {
            let Some(mut snapshot) = self.routers[router].snapshot.take() else { continue };
            let ownership = &self.ownership;
            let mut frames = Vec::new();
            let more = snapshot.step(registry, |name| ownership.partition(name), &mut frames);
            for frame in frames {
                self.queue(router as RouterIndex, frame);
            }
            // Kept while the link lasts: it knows which partitions were told.
            self.routers[router].snapshot = Some(snapshot);
            if more {
                return true;
            }
        }
        false
    }

    /// Whether [`Links::continue_snapshots`] has something to do.
    pub fn has_snapshots(&self) -> bool {
        !self.is_congested
            && self.routers.iter().any(|router| router.snapshot.as_ref().is_some_and(Snapshot::is_under_way))
    }

    /// Whether the router said what it owns and was told all who are here.
    pub fn has_told_all(&self, router: RouterIndex) -> bool {
        self.routers[router as usize].snapshot.as_ref().is_some_and(|snapshot| !snapshot.is_under_way())
    }

    /// Whether the link is down, and others own all that was this router's and were told all who are here.
    pub fn is_succeeded(&self, router: RouterIndex) -> bool {
        let heir_is_told =
            |heir: Option<RouterIndex>| heir.is_some_and(|heir| heir != router && self.has_told_all(heir));
        !self.routers[router as usize].is_up && self.ownership.owners().all(heir_is_told)
    }

    pub fn poll_timeout(&self) -> Option<Mono> {
        let pings = self.routers.iter().filter(|router| router.is_up).map(|router| router.next_ping);
        let overdue = self.waiting.front().map(|message| message.since + limits::LINK_PENDING_WAIT);
        pings.chain(overdue).min()
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        for router in 0..self.routers.len() {
            let state = &mut self.routers[router];
            if !state.is_up || now < state.next_ping {
                continue;
            }
            state.next_ping = now + limits::LINK_PING_INTERVAL;
            if now.since(state.last_heard) >= limits::LINK_SILENCE_MAX {
                self.cut(router as RouterIndex, "was silent for too long");
            } else {
                self.queue(router as RouterIndex, Frame::Ping { t: now.0 });
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        let output = self.output.pop_front()?;
        if let LinkOutput::Frame { router, .. } = &output {
            let state = &mut self.routers[*router as usize];
            state.queued = state.queued.saturating_sub(1);
        }
        Some(output)
    }

    fn queue(&mut self, router: RouterIndex, frame: Frame) {
        let state = &mut self.routers[router as usize];
        if !state.is_up {
            return;
        }
        state.queued += 1;
        if state.queued > limits::LINK_QUEUED_FRAMES_MAX {
            self.cut(router, "does not take what it is sent");
            return;
        }
        self.output.push_back(LinkOutput::Frame { router, frame });
    }

    /// Ends a link from our side; the porch reports [`Links::handle_up`] when there is a new one.
    fn cut(&mut self, router: RouterIndex, why: &'static str) {
        self.handle_down(router);
        self.output.push_back(LinkOutput::Cut { router, why });
    }
}

#[cfg(test)]
mod tests;
