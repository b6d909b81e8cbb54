//! What shards say: who is there, and what their clients want.
//!
//! A page of a sync is computed after everything that was handled before it and leaves behind it on the same link, so
//! what it does not show was delivered or comes on a later page.

use bytes::Bytes;
use uuid::Uuid;
use wire::link::{Frame, SessionKey};
use wire::message::{ClientMessage, ServerMessage, SyncRequest};
use wire::time::Wall;

use super::clock::Tick;
use super::desk::Desk;
use super::marks::{self, Act};
use super::parked::{Full, Message};
use super::words::{HistoryAsked, Output, Wish};
use super::{outcomes, tickets};
use crate::classify::Recipient;
use crate::inbox::RecipientRow;
use crate::presence::{LinkId, Presence};
use crate::projection::queue;
use crate::store::keys;
use crate::store::{Store, StoreError};
use crate::sync::history::{self, History};
use crate::sync::topics::Subscriptions;
use crate::sync::{self, SyncError};

/// When a client may ask again for what Cassandra does not give.
const ASK_AGAIN_AFTER_MS: u64 = 2_000;

/// A link came up.
pub(super) fn link_up<S: Store>(
    desk: &mut Desk<S>,
    presence: &mut Presence,
    link: LinkId,
    (node, shard): (&str, u16),
    now: Tick,
) -> Result<(), StoreError> {
    let everybody = RecipientRow::load(&desk.turn, &keys::recipient(&Recipient::All))?.last;
    presence.link_up(link, now.mono);
    desk.flights.link_up(link, node, shard);
    if desk.config.alone {
        let owns = owns(desk);
        desk.send(link, owns);
    }
    for who in desk.revocations.recent(now.mono) {
        desk.send(link, Frame::Revoke { who });
    }
    tell_shard(desk, link, everybody);
    Ok(())
}

pub(super) fn owns<S: Store>(desk: &Desk<S>) -> Frame {
    let config = &desk.config;
    Frame::Owns {
        epoch: config.epoch,
        generation: config.generation,
        count: config.partitions,
        partitions: config.owned.clone(),
    }
}

/// If a broadcast is newer than what the shard surely got, all its sockets are told to sync.
fn tell_shard<S: Store>(desk: &mut Desk<S>, link: LinkId, newest: Option<Wall>) {
    if let Some(since) = desk.flights.gap_since(link)
        && newest > Some(since)
        && desk.flights.tell_shard(link)
    {
        desk.send(link, Frame::Gap { since });
    }
}

/// A frame of a shard.
pub(super) fn frame<S: Store>(
    desk: &mut Desk<S>,
    presence: &mut Presence,
    link: LinkId,
    frame: &Frame,
    now: Tick,
) -> Result<(), StoreError> {
    if !presence.is_up(link) {
        return Ok(());
    }
    match frame {
        Frame::Snapshot { users, topics, .. } => snapshot(desk, presence, link, users, topics)?,
        Frame::SnapshotEnd { partition } => {
            presence.snapshot_ended(link, *partition);
            if !presence.awaits(link) {
                desk.flights.gap_told(link);
            }
        }
        Frame::Announce { user } => {
            let topics = Subscriptions::load(&desk.turn, user)?;
            presence.announce(link, user);
            look_elsewhere(desk, link, user, topics.is_none())?;
            tell_topics(desk, link, user, topics);
        }
        Frame::Withdraw { user } => presence.withdraw(link, user),
        Frame::Subscribe { topic } => presence.subscribe(link, topic),
        Frame::Unsubscribe { topic } => presence.unsubscribe(link, topic),
        Frame::Result { tag, result, .. } => outcomes::result(desk, link, *tag, *result, now)?,
        Frame::ClientMessage { user, session, text } => {
            let from = Client { link, session: *session, user };
            message(desk, presence, from, text, now)?;
        }
        Frame::Redeem { request, ticket } => {
            let user = tickets::redeem(desk, ticket, now)?;
            desk.send(link, Frame::Redeemed { request: *request, user });
        }
        // Those of the link itself are its porch's; those that routers say are nobody's.
        _ => {}
    }
    Ok(())
}

/// A row that this needs is damaged. Somebody was told; the client may go on.
pub(super) fn refuse_for_damage<S: Store>(desk: &mut Desk<S>, link: LinkId, session: SessionKey) {
    Client { link, session, user: "" }.refuse(desk, "internal", "this cannot be answered for now");
}

/// Users whose sockets outlived a link, or moved with a partition: whoever has something newer than what the shard
/// surely got is told to sync.
fn snapshot<S: Store>(
    desk: &mut Desk<S>,
    presence: &mut Presence,
    link: LinkId,
    users: &[String],
    topics: &[String],
) -> Result<(), StoreError> {
    let gap_since = desk.flights.gap_since(link);
    for user in users {
        let subscriptions = Subscriptions::load(&desk.turn, user)?;
        presence.announce(link, user);
        look_elsewhere(desk, link, user, subscriptions.is_none())?;
        tell_topics(desk, link, user, subscriptions);
        if let Some(since) = gap_since
            && RecipientRow::load(&desk.turn, &keys::user(user))?.last > Some(since)
        {
            let text: Bytes = ServerMessage::Gap { since }.to_json().into();
            desk.send(link, Frame::Tell { user: user.clone(), except: None, text });
        }
    }
    for topic in topics {
        presence.subscribe(link, topic);
        if gap_since.is_some() {
            let stream = keys::recipient(&Recipient::Topic(topic.clone()));
            let newest = RecipientRow::load(&desk.turn, &stream)?.last;
            tell_shard(desk, link, newest);
        }
    }
    Ok(())
}

fn tell_topics<S: Store>(desk: &mut Desk<S>, link: LinkId, user: &str, topics: Option<Subscriptions>) {
    if let Some(topics) = topics {
        desk.send(link, Frame::Topics { user: user.to_owned(), topics: topics.names() });
    }
}

/// Who says something.
#[derive(Debug, Clone, Copy)]
struct Client<'a> {
    link: LinkId,
    session: SessionKey,
    user: &'a str,
}

impl Client<'_> {
    fn reply<S: Store>(&self, desk: &mut Desk<S>, text: impl Into<Bytes>) {
        desk.send(self.link, Frame::Reply { session: self.session, text: text.into() });
    }

    fn refuse<S: Store>(&self, desk: &mut Desk<S>, code: &str, message: impl Into<String>) {
        let error =
            ServerMessage::Error { code: code.to_owned(), message: message.into(), retry_after_ms: None };
        self.reply(desk, error.to_json());
    }

    /// What this needs lies in Cassandra, and that does not answer.
    fn ask_again<S: Store>(&self, desk: &mut Desk<S>) {
        let message = "what is older cannot be read now".to_owned();
        let retry_after_ms = Some(ASK_AGAIN_AFTER_MS);
        let error = ServerMessage::Error { code: "unavailable".to_owned(), message, retry_after_ms };
        self.reply(desk, error.to_json());
    }
}

/// What changes a user's topics waits for those that this store never had: it would take their place. True: it waits, or
/// was refused.
fn waits_for_topics<S: Store>(desk: &mut Desk<S>, from: Client<'_>, text: &[u8]) -> Result<bool, StoreError> {
    if Subscriptions::load(&desk.turn, from.user)?.is_some() || !lies_elsewhere(desk, from.user)? {
        return Ok(false);
    }
    let message = Message { link: from.link, session: from.session, text: text.to_vec() };
    match desk.parked.park(from.user, message) {
        Ok(()) => {
            let user = from.user.to_owned();
            desk.say(Output::History(HistoryAsked { link: from.link, user, wish: Wish::TopicsNow }));
        }
        Err(Full) => from.ask_again(desk),
    }
    Ok(true)
}

fn message<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    from: Client<'_>,
    text: &[u8],
    now: Tick,
) -> Result<(), StoreError> {
    let text = String::from_utf8_lossy(text);
    let message = match ClientMessage::parse(&text) {
        Ok(message) => message,
        Err(bad) => {
            from.refuse(desk, bad.code(), bad.to_string());
            return Ok(());
        }
    };
    let is_about_topics =
        matches!(message, ClientMessage::Subscribe { .. } | ClientMessage::Unsubscribe { .. });
    if is_about_topics && waits_for_topics(desk, from, text.as_bytes())? {
        return Ok(());
    }
    match message {
        ClientMessage::Sync(request) => page(desk, from, &request, now),
        ClientMessage::Ack { ids } => act(desk, presence, from, &ids, Act::Acknowledge, now),
        ClientMessage::Read { ids } => act(desk, presence, from, &ids, Act::Read, now),
        // Topics of other partitions are elsewhere, and so is what their users would sync.
        ClientMessage::Subscribe { .. } if !desk.config.alone => {
            from.refuse(desk, "unavailable", "there are no topics with several routers yet");
            Ok(())
        }
        ClientMessage::Subscribe { topics } => subscribe(desk, presence, from, &topics, now),
        ClientMessage::Unsubscribe { topics } => unsubscribe(desk, presence, from, &topics, now),
        // The shard answers these itself.
        ClientMessage::Hello { .. } | ClientMessage::Ping { .. } => Ok(()),
    }
}

fn page<S: Store>(
    desk: &mut Desk<S>,
    from: Client<'_>,
    request: &SyncRequest,
    now: Tick,
) -> Result<(), StoreError> {
    match history::wanted(&desk.turn, from.user, request, desk.lack()) {
        Ok(None) => return page_of(desk, from, request, History::default(), now),
        Ok(Some(_)) => {
            let wish = Wish::Page(from.session, request.clone());
            let asked = HistoryAsked { link: from.link, user: from.user.to_owned(), wish };
            desk.say(Output::History(asked));
        }
        Err(SyncError::BadCursor(bad)) => from.refuse(desk, "bad_cursor", bad.to_string()),
        Err(SyncError::Store(error)) => return Err(error),
    }
    Ok(())
}

fn page_of<S: Store>(
    desk: &mut Desk<S>,
    from: Client<'_>,
    request: &SyncRequest,
    history: History,
    now: Tick,
) -> Result<(), StoreError> {
    match sync::page_with(&desk.turn, from.user, request, now.steady, history) {
        Ok(page) => from.reply(desk, page.message()),
        Err(SyncError::BadCursor(bad)) => from.refuse(desk, "bad_cursor", bad.to_string()),
        Err(SyncError::Store(error)) => return Err(error),
    }
    Ok(())
}

/// A user whose topics this store never had: they are asked for, and told to the shards when they come.
fn look_elsewhere<S: Store>(
    desk: &mut Desk<S>,
    link: LinkId,
    user: &str,
    is_unknown: bool,
) -> Result<(), StoreError> {
    if is_unknown && lies_elsewhere(desk, user)? {
        desk.say(Output::History(HistoryAsked { link, user: user.to_owned(), wish: Wish::Topics }));
    }
    Ok(())
}

/// Whether what this store never had of a user may be in Cassandra, and may be shown.
fn lies_elsewhere<S: Store>(desk: &Desk<S>, user: &str) -> Result<bool, StoreError> {
    Ok(desk.lack().is_some() && !queue::is_being_erased(&desk.turn, user)?)
}

/// What was looked for elsewhere is there, or cannot be had.
pub(super) fn history<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    asked: &HistoryAsked,
    found: Result<&Option<History>, &String>,
    now: Tick,
) -> Result<(), StoreError> {
    let HistoryAsked { link, user, wish } = asked;
    // It was read before its person was erased.
    let is_late = queue::is_being_erased(&desk.turn, user)?;
    let found = found.map(|found| found.as_ref().filter(|_| !is_late));
    if let Ok(Some(History { subscriptions: Some(topics), .. })) = found
        && Subscriptions::load(&desk.turn, user)?.is_none()
    {
        topics.keep(&mut desk.turn, user);
        for link in presence.whereabouts(user, now.mono).links {
            desk.send(link, Frame::Topics { user: user.clone(), topics: topics.names() });
        }
    }
    match (wish, found) {
        (Wish::Page(session, request), Ok(history)) => {
            let from = Client { link: *link, session: *session, user };
            page_of(desk, from, request, history.cloned().unwrap_or_default(), now)?;
        }
        (Wish::Page(session, _), Err(why)) => {
            tracing::debug!(why, "a sync cannot be answered");
            Client { link: *link, session: *session, user }.ask_again(desk);
        }
        (Wish::Topics | Wish::TopicsNow, _) => {}
    }
    let is_known = is_late || Subscriptions::load(&desk.turn, user)?.is_some();
    if is_known || *wish == Wish::TopicsNow {
        release(desk, presence, user, is_known, now)?;
    }
    Ok(())
}

/// What waited for a user's topics is done now, or refused.
fn release<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    user: &str,
    is_known: bool,
    now: Tick,
) -> Result<(), StoreError> {
    for Message { link, session, text } in desk.parked.of(user) {
        let from = Client { link, session, user };
        if is_known {
            message(desk, presence, from, &text, now)?;
        } else {
            from.ask_again(desk);
        }
    }
    desk.parked.release(user);
    Ok(())
}

fn act<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    from: Client<'_>,
    ids: &[Uuid],
    act: Act,
    now: Tick,
) -> Result<(), StoreError> {
    let mut done = marks::act(desk, from.user, ids, act, now)?;
    done.first_acted.append(&mut done.elsewhere);
    marks::dismiss(desk, presence, from.user, done.first_acted, Some((from.link, from.session)), now);
    Ok(())
}

fn subscribe<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    from: Client<'_>,
    topics: &[String],
    now: Tick,
) -> Result<(), StoreError> {
    let mut subscriptions = Subscriptions::load(&desk.turn, from.user)?.unwrap_or_default();
    let since = desk.stamps.last.unwrap_or(Wall(i64::MIN));
    if subscriptions.add(topics, since).is_err() {
        let most = wire::limits::TOPICS_PER_USER_MAX;
        from.refuse(desk, "too_many", format!("a user has {most} topics at most"));
        return Ok(());
    }
    keep(desk, presence, from, &subscriptions, now);
    Ok(())
}

fn unsubscribe<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    from: Client<'_>,
    topics: &[String],
    now: Tick,
) -> Result<(), StoreError> {
    let mut subscriptions = Subscriptions::load(&desk.turn, from.user)?.unwrap_or_default();
    subscriptions.remove(topics);
    keep(desk, presence, from, &subscriptions, now);
    Ok(())
}

/// The shards first, so that whoever reads the answer gets what is sent from then on.
fn keep<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    from: Client<'_>,
    subscriptions: &Subscriptions,
    now: Tick,
) {
    subscriptions.keep(&mut desk.turn, from.user);
    desk.must_persist = true;
    let topics = subscriptions.names();
    let mut links = presence.whereabouts(from.user, now.mono).links;
    if !links.contains(&from.link) {
        links.push(from.link);
    }
    for link in links {
        desk.send(link, Frame::Topics { user: from.user.to_owned(), topics: topics.clone() });
    }
    from.reply(desk, ServerMessage::Subscribed { topics }.to_json());
}
