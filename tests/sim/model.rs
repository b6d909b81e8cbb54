//! What was promised, kept outside of the system: the reference that every story is held against.

use std::collections::{BTreeMap, BTreeSet};

use router::classify::Recipient;
use router::record::{Channel, Request, Target};
use uuid::Uuid;
use wire::message::Priority;

use crate::client::Client;
use crate::events::{Events, S};

/// What expires so close to the last look may be seen or not.
const EXPIRY_SLACK_US: u64 = 3 * S;

/// How far ahead the owner writes its clock down.
const REACH_US: u64 = 100_000;

pub(crate) const TOPICS: [&str; 2] = ["news", "ops"];

/// One notification that was handed in.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) id: Uuid,
    pub(crate) request: Request,
    pub(crate) handed_in_us: u64,
    /// It got its 202. Without one it may come all the same.
    pub(crate) is_accepted: bool,
    /// A clock was set while it lived: nobody can say when that ends.
    ends_anytime: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// In the order in which they were handed in.
    pub(crate) promises: Vec<Promise>,
    places: BTreeMap<Uuid, usize>,
    /// What clients said to have seen.
    acts: BTreeSet<(String, Uuid)>,
    /// Accepted, and lost by damage that the journal told of.
    pub(crate) lost: BTreeSet<Uuid>,
    /// How long an inbox keeps what has no life of its own.
    pub(crate) inbox_kept_us: u64,
    /// How far the owner's steady clock may be ahead of the passing time, and behind it.
    pub(crate) ahead_us: u64,
    pub(crate) behind_us: u64,
    pub(crate) users: Vec<String>,
    /// A power cut made the owner forget what it had done: it may do that again.
    pub(crate) had_power_cut: bool,
}

/// A request as services make them.
pub(crate) fn draw_request(users: &[String], pushes_one_in: u64, events: &mut Events) -> Request {
    let user = |events: &mut Events| users[events.between(0, users.len() as u64 - 1) as usize].clone();
    let to = match events.between(0, 9) {
        0 => Target::All(true),
        1 => Target::Topic(TOPICS[events.between(0, 1) as usize].to_owned()),
        2 => {
            let some: BTreeSet<String> = (0..3).map(|_| user(events)).collect();
            Target::Users(some.into_iter().collect())
        }
        _ => Target::User(user(events)),
    };
    let for_people = matches!(to, Target::User(_) | Target::Users(_));
    let priority = Priority::ALL[events.between(0, 3) as usize];
    let mut channels = vec![Channel::Inapp];
    let mut fallback = Vec::new();
    if for_people && events.one_in(4) {
        channels.push(Channel::Sms);
    }
    if for_people && events.one_in(pushes_one_in) {
        channels.push(Channel::Push);
    }
    if for_people && events.one_in(8) {
        fallback = vec![Channel::Push, Channel::Email];
    }
    let collapses = matches!(to, Target::User(_)) && fallback.is_empty() && events.one_in(10);
    Request {
        to,
        // One lane for those that replace each other, so that the later one is the newer one.
        priority: if collapses { Priority::Normal } else { priority },
        category: None,
        title: Some("a story".to_owned()),
        body: None,
        data: None,
        channels,
        ack_within_s: (!fallback.is_empty()).then_some(2),
        channel_within_s: BTreeMap::new(),
        fallback,
        ttl_s: events.one_in(10).then(|| events.between(1, 40) as u32),
        collapse_key: collapses.then(|| "key".to_owned()),
        send_at: None,
    }
}

/// Everybody of `to`, as the ledger names them.
fn recipients(to: &Target) -> Vec<Recipient> {
    match to {
        Target::User(user) => vec![Recipient::User(user.clone())],
        Target::Users(users) => users.iter().cloned().map(Recipient::User).collect(),
        Target::Topic(topic) => vec![Recipient::Topic(topic.clone())],
        Target::All(_) => vec![Recipient::All],
    }
}

impl Promise {
    pub(crate) fn recipients(&self) -> Vec<Recipient> {
        recipients(&self.request.to)
    }

    pub(crate) fn has(&self, channel: Channel) -> bool {
        self.request.channels.contains(&channel) || self.request.fallback.contains(&channel)
    }

    fn ends_us(&self) -> Option<u64> {
        self.request.ttl_s.map(|ttl| self.handed_in_us + u64::from(ttl) * S)
    }
}

impl Model {
    pub(crate) fn hand_in(&mut self, id: Uuid, request: Request, events: &Events) {
        self.places.insert(id, self.promises.len());
        self.promises.push(Promise {
            id,
            request,
            handed_in_us: events.now_us(),
            is_accepted: false,
            ends_anytime: false,
        });
    }

    pub(crate) fn accepted(&mut self, id: Uuid) {
        if let Some(place) = self.places.get(&id) {
            self.promises[*place].is_accepted = true;
        }
    }

    pub(crate) fn promise(&self, id: Uuid) -> Option<&Promise> {
        self.places.get(&id).map(|place| &self.promises[*place])
    }

    pub(crate) fn acts(&mut self, user: &str, ids: &[Uuid]) {
        self.acts.extend(ids.iter().map(|id| (user.to_owned(), *id)));
    }

    pub(crate) fn has_acted(&self, user: &str, id: Uuid) -> bool {
        self.acts.contains(&(user.to_owned(), id))
    }

    /// The wall clock was set, or the owner took its date from a clock that was set.
    pub(crate) fn clock_was_set(&mut self, now_us: u64) {
        for promise in &mut self.promises {
            let lives = promise.ends_us().is_some_and(|at| at + EXPIRY_SLACK_US + self.behind_us > now_us);
            promise.ends_anytime |= lives;
        }
    }

    pub(crate) fn is_for(promise: &Promise, user: &str) -> bool {
        match &promise.request.to {
            Target::User(one) => one == user,
            Target::Users(some) => some.iter().any(|one| one == user),
            // Everybody subscribes before anything is handed in.
            Target::Topic(_) | Target::All(_) => true,
        }
    }

    /// The owner starts again: its clock goes on where it was, or at the wall's date if that is later.
    pub(crate) fn owner_starts(&mut self, stopped_us: u64, events: &Events) {
        let off = events.wall_off_us();
        let leads = off > self.ahead_us.cast_signed();
        self.ahead_us = (self.ahead_us + REACH_US).max(u64::try_from(off).unwrap_or(0));
        let stood = self.behind_us + events.now_us().saturating_sub(stopped_us);
        self.behind_us = stood.min(u64::try_from(-off).unwrap_or(0));
        if leads || self.behind_us > 0 {
            self.clock_was_set(events.now_us());
        }
    }

    /// Whether a later one took its place.
    fn is_replaced(&self, place: usize) -> bool {
        let promise = &self.promises[place];
        promise.request.collapse_key.is_some()
            && self.promises[place + 1..].iter().any(|later| {
                later.request.to == promise.request.to
                    && later.request.collapse_key == promise.request.collapse_key
            })
    }

    /// Whether it must be in the inbox still.
    fn must_be_there(&self, place: usize, now_us: u64) -> bool {
        let promise = &self.promises[place];
        promise.is_accepted
            && promise.request.ttl_s.is_none()
            && !self.lost.contains(&promise.id)
            && now_us + self.ahead_us < promise.handed_in_us + self.inbox_kept_us
            && !self.is_replaced(place)
    }

    /// What a client that is connected and has nothing left to ask for should know, and does not.
    pub(crate) fn unknown_to(&self, client: &Client, now_us: u64) -> Vec<String> {
        let theirs = self.promises.iter().enumerate().filter(|(_, it)| Model::is_for(it, &client.user));
        let unknown = theirs.filter(|(place, promise)| {
            !client.known.contains_key(&promise.id) && self.must_be_there(*place, now_us)
        });
        let told = |(place, promise): (usize, &Promise)| {
            format!(
                "{} was never told of {}, the {place}th: {:?}",
                client.name(),
                promise.id,
                promise.request
            )
        };
        unknown.map(told).collect()
    }

    /// Holds a client's last sync, which read everything, against what was promised.
    pub(crate) fn check(&self, client: &Client, looked_us: u64, events: &mut Events) {
        let who = client.name();
        if !client.whole_is_complete {
            events.broken("I1", format!("{who} never got to the end of its last sync"));
            return;
        }
        let found: BTreeSet<Uuid> = client.whole.iter().copied().collect();
        if found.len() != client.whole.len() {
            let doubles = client.whole.len() - found.len();
            events.broken("I2", format!("{who}: {doubles} came twice in one sync"));
        }
        for (place, promise) in self.promises.iter().enumerate() {
            if !Model::is_for(promise, &client.user) {
                continue;
            }
            let id = promise.id;
            let is_over =
                promise.ends_us().is_some_and(|at| at + EXPIRY_SLACK_US + self.behind_us < looked_us);
            if is_over && !promise.ends_anytime && found.contains(&id) {
                events.broken("I1", format!("{who} was shown {id}, which had expired"));
            }
            if !found.contains(&id) && self.must_be_there(place, looked_us) {
                events.broken("I1", format!("{who} lost {id}, the {place}th: {:?}", promise.request));
            }
        }
        self.check_order(client, events);
    }

    /// Within one lane a user's notifications keep the order in which they were handed in.
    fn check_order(&self, client: &Client, events: &mut Events) {
        let mut last: BTreeMap<(Priority, bool), usize> = BTreeMap::new();
        for id in &client.whole {
            let Some(place) = self.places.get(id) else { continue };
            let promise = &self.promises[*place];
            // A list goes by its first name's partition, so only those to one user share a lane for certain.
            if !matches!(promise.request.to, Target::User(_)) {
                continue;
            }
            let lane = (promise.request.priority, promise.request.collapse_key.is_some());
            let before = last.insert(lane, *place);
            if before.is_some_and(|before| before > *place) {
                let who = client.name();
                events.broken("I1", format!("{who}: the {place}th came behind the {before:?}th of its lane"));
            }
        }
    }

    /// How many deliveries there may be on a channel: at least and at most. One a person, one a broadcast; fallbacks,
    /// what got no answer and what damage took are at most.
    pub(crate) fn deliveries(&self, channel: Channel) -> (u64, u64) {
        let (mut least, mut most) = (0, 0);
        for promise in &self.promises {
            let people = promise.recipients().len() as u64;
            let is_sure = promise.is_accepted && !self.lost.contains(&promise.id);
            if promise.request.channels.contains(&channel) {
                most += people;
                least += if is_sure { people } else { 0 };
            } else if promise.request.fallback.contains(&channel) {
                most += people;
            }
        }
        (least, most)
    }

    /// How many a client that was always there should have had live and had not.
    pub(crate) fn not_live(&self, client: &Client) -> usize {
        let theirs = self.promises.iter().filter(|promise| Model::is_for(promise, &client.user));
        theirs.filter(|promise| !client.known.get(&promise.id).is_some_and(|known| known.live)).count()
    }
}
