//! What was promised, kept outside of the system: the reference that every story is held against.

use std::collections::{BTreeMap, BTreeSet};

use router::record::{Channel, Request, Target};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::client::Client;
use crate::events::Events;

/// What expires so close to the last look may be seen or not.
const EXPIRY_SLACK_US: i64 = 3_000_000;

pub(crate) const TOPICS: [&str; 2] = ["news", "ops"];

/// One notification that got its 202.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    pub(crate) id: Uuid,
    pub(crate) request: Request,
    pub(crate) accepted_at: Wall,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// In the order in which they were handed in.
    pub(crate) promises: Vec<Promise>,
}

/// A request as services make them.
pub(crate) fn draw_request(users: &[String], events: &mut Events) -> Request {
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
        fallback,
        ttl_s: events.one_in(10).then(|| events.between(1, 40) as u32),
        collapse_key: collapses.then(|| "key".to_owned()),
    }
}

impl Model {
    fn is_for(promise: &Promise, user: &str) -> bool {
        match &promise.request.to {
            Target::User(one) => one == user,
            Target::Users(some) => some.iter().any(|one| one == user),
            // Everybody subscribes before anything is handed in.
            Target::Topic(_) | Target::All(_) => true,
        }
    }

    fn expires(promise: &Promise) -> Option<i64> {
        promise.request.ttl_s.map(|ttl| promise.accepted_at.0 + i64::from(ttl) * 1_000_000)
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

    /// Holds a client's last sync, which read everything, against what was promised.
    pub(crate) fn check(&self, client: &Client, looked_at: Wall) -> Vec<String> {
        let mut faults = client.faults.clone();
        let who = &client.user;
        if !client.whole_is_complete {
            faults.push(format!("{who} never got to the end of its last sync"));
            return faults;
        }
        let found: BTreeSet<Uuid> = client.whole.iter().copied().collect();
        if found.len() != client.whole.len() {
            faults.push(format!("{who}: {} came twice in one sync", client.whole.len() - found.len()));
        }
        for (place, promise) in self.promises.iter().enumerate() {
            if !Model::is_for(promise, who) {
                continue;
            }
            let expires = Model::expires(promise);
            let id = promise.id;
            if expires.is_some_and(|at| at < looked_at.0 - EXPIRY_SLACK_US) {
                if found.contains(&id) {
                    faults.push(format!("{who} was shown {id}, which had expired"));
                }
            } else if expires.is_none() && !found.contains(&id) && !self.is_replaced(place) {
                faults.push(format!("{who} lost {id}, the {place}th: {:?}", promise.request));
            }
        }
        let theirs: BTreeMap<Uuid, usize> = self
            .promises
            .iter()
            .enumerate()
            .filter(|(_, promise)| Model::is_for(promise, who))
            .map(|(place, promise)| (promise.id, place))
            .collect();
        let strangers = client.known.keys().chain(&found).filter(|id| !theirs.contains_key(id));
        faults.extend(strangers.map(|id| format!("{who} was shown {id}, which is for others")));
        faults.extend(self.order_faults(client, &theirs));
        faults
    }

    /// Within one lane a user's notifications keep the order in which they were handed in.
    fn order_faults(&self, client: &Client, theirs: &BTreeMap<Uuid, usize>) -> Vec<String> {
        let mut last: BTreeMap<(Priority, bool), usize> = BTreeMap::new();
        let mut faults = Vec::new();
        for id in &client.whole {
            let Some(place) = theirs.get(id) else { continue };
            let promise = &self.promises[*place];
            // A list goes by its first name's partition, so only those to one user share a lane for certain.
            if !matches!(promise.request.to, Target::User(_)) {
                continue;
            }
            let lane = (promise.request.priority, promise.request.collapse_key.is_some());
            let before = last.insert(lane, *place);
            if before.is_some_and(|before| before > *place) {
                faults
                    .push(format!("{}: the {place}th came behind the {before:?}th of its lane", client.user));
            }
        }
        faults
    }

    /// How many deliveries the promises are by channel, fallbacks at most: one a person, one a broadcast.
    pub(crate) fn deliveries(&self) -> BTreeMap<Channel, u64> {
        let mut deliveries: BTreeMap<Channel, u64> =
            Channel::ALL.into_iter().map(|channel| (channel, 0)).collect();
        for Promise { request, .. } in &self.promises {
            let people = match &request.to {
                Target::Users(users) => users.len() as u64,
                Target::User(_) | Target::Topic(_) | Target::All(_) => 1,
            };
            for channel in request.channels.iter().chain(&request.fallback) {
                *deliveries.entry(*channel).or_default() += people;
            }
        }
        deliveries
    }

    /// How many a client that was always there should have had live and had not.
    pub(crate) fn not_live(&self, client: &Client) -> usize {
        let theirs = self.promises.iter().filter(|promise| Model::is_for(promise, &client.user));
        theirs.filter(|promise| !client.known.get(&promise.id).is_some_and(|known| known.live)).count()
    }
}
