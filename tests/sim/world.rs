//! One story: a beginning in which everybody connects and subscribes, a middle in which services hand in and things go
//! wrong, and an end in which all is calm and every promise is checked. What can be checked at once is checked at each step.

use std::collections::BTreeMap;

use router::record::{Channel, Request, Target};
use wire::message::Priority;

use crate::client::Client;
use crate::events::{Event, Events, Fault, MS, S};
use crate::faults::{self, Mix};
use crate::links::Links;
use crate::model::{TOPICS, draw_request};
use crate::router::{RouterSim, Street};
use crate::shards::{SHARDS, Shards};

/// The parts of a story.
const BEGINNING_US: u64 = 6 * S;
const MIDDLE_US: u64 = 40 * S;
const CALM_US: u64 = 35 * S;
const PROBE_US: u64 = 5 * S;
const LAST_SYNC_US: u64 = 15 * S;
const FAREWELL_US: u64 = 5 * S;

const USERS: usize = 4;
const DEVICES: usize = 2;
/// Events of a story that never comes to rest.
const EVENTS_MAX: u64 = 3_000_000;

/// What a story was.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) trace: u64,
    pub(crate) events: u64,
    pub(crate) handed_in: usize,
    /// Notifications that came to a socket by themselves.
    pub(crate) live: usize,
    pub(crate) not_live: usize,
    pub(crate) twice_on_a_socket: u32,
    pub(crate) crashes: u32,
    /// Accepted, and taken by damage that the journal told of.
    pub(crate) lost: usize,
    pub(crate) pushes_held_back: u32,
    /// Frames that a full outbox did not take.
    pub(crate) dropped: u64,
    pub(crate) faults: BTreeMap<Fault, u32>,
    pub(crate) broken: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct World {
    events: Events,
    router: RouterSim,
    shards: Shards,
    links: Links,
    clients: Vec<Client>,
    users: Vec<String>,
    mix: Mix,
    is_calm: bool,
    ends_us: u64,
    faults: BTreeMap<Fault, u32>,
    plants_loss: bool,
}

impl World {
    pub(crate) fn new(seed: u64, mix: Mix) -> World {
        let mut events = Events::new(seed);
        let shards = Shards::new(&mut events);
        let users: Vec<String> = (0..USERS).map(|i| format!("user-{i}")).collect();
        let device = |i: usize| Client::new(&users[i % USERS], &format!("d{}", i / USERS), &TOPICS);
        let clients = (0..USERS * DEVICES).map(device).collect();
        let mut router = RouterSim::new(&users, &mut events);
        let (inbox, ledger) = mix.kept();
        router.keep_for(inbox, ledger);
        World {
            events,
            router,
            shards,
            links: Links::default(),
            clients,
            users,
            mix,
            is_calm: false,
            ends_us: 0,
            faults: BTreeMap::new(),
            plants_loss: false,
        }
    }

    /// Loses one record on purpose.
    pub(crate) fn with_planted_loss(mut self) -> World {
        self.plants_loss = true;
        self
    }

    /// Stops at the first step that breaks something.
    pub(crate) fn run(mut self) -> Report {
        let parts =
            [World::beginning, World::middle, World::calm, World::probe, World::last_sync, World::farewell];
        for part in parts {
            if !self.events.is_broken() {
                part(&mut self);
            }
        }
        self.report()
    }
    fn beginning(&mut self) {
        self.router.start(&mut Street { links: &mut self.links, events: &mut self.events });
        for shard in 0..SHARDS {
            self.events.within(0, 50 * MS, Event::Dial { shard });
        }
        for client in 0..self.clients.len() {
            self.events.within(0, S, Event::Client { client });
        }
        self.events.within(200 * MS, 250 * MS, Event::Persist);
        self.go_on(BEGINNING_US);
        self.check_subscribed();
    }

    fn middle(&mut self) {
        self.router.journal.planted_loss = self.plants_loss;
        self.mix.begin(&mut self.router, &mut self.links);
        self.events.within(0, MS, Event::HandIn);
        self.plan_fault();
        self.go_on(MIDDLE_US);
    }

    fn calm(&mut self) {
        self.is_calm = true;
        faults::end(&mut self.router, &mut self.links);
        self.go_on(CALM_US);
    }

    fn probe(&mut self) {
        self.hand_in_probes();
        self.go_on(PROBE_US);
        self.check_told();
    }

    fn last_sync(&mut self) {
        let looked_us = self.events.now_us();
        self.clients.iter_mut().for_each(Client::begin_whole);
        self.go_on(LAST_SYNC_US);
        self.check(looked_us);
    }

    fn farewell(&mut self) {
        self.say_farewell();
        self.go_on(FAREWELL_US);
        self.check_empty();
    }

    /// So much time passes, and what stands still in it comes on top.
    fn go_on(&mut self, for_us: u64) {
        self.ends_us = self.events.now_us() + for_us;
        while !self.events.is_broken()
            && let Some(event) = self.events.next(self.ends_us)
        {
            assert!(self.events.happened < EVENTS_MAX, "the story does not come to rest");
            let before_us = self.events.now_us();
            self.happen(event);
            self.ends_us += self.events.now_us() - before_us;
        }
    }

    fn happen(&mut self, event: Event) {
        let World { events, router, shards, links, .. } = self;
        let mut street = Street { links, events };
        match event {
            Event::HandIn => self.hand_in(),
            Event::JournalSync => router.sync_journal(events),
            Event::JournalRevive => router.revive_journal(events),
            Event::Read => router.read(&mut street),
            Event::RouterTimer => router.timer(&mut street),
            Event::Persist => {
                router.persist(events);
                events.within(200 * MS, 250 * MS, Event::Persist);
            }
            Event::ProviderAnswers { run, delivery, outcome } => {
                router.answer(run, delivery, outcome, &mut street);
            }
            Event::Dial { shard } => self.dial(shard),
            Event::ToRouter { link, frame } => router.frame(link, frame, &mut street),
            Event::ToShard { link, frame } => {
                let Some(of) = links.all.get(&link).filter(|of| !of.is_cut).map(|of| of.shard) else {
                    return;
                };
                shards.input(of, links, events, |shard, now| shard.handle_link_frame(0, frame, now));
            }
            Event::RouterLoses { link } => router.lose_link(link, &mut street),
            Event::RouterListens { link } => links.listen(link, events),
            Event::ShardLoses { link } => {
                let Some(of) = links.shard_loses(link) else { return };
                shards.input(of, links, events, |shard, now| shard.handle_link_down(0, now));
                Shards::redial(of, events);
            }
            Event::ShardTimer { shard } => shards.timer(shard, links, events),
            Event::ToServer { socket, bytes } => shards.received(socket, &bytes, links, events),
            Event::ToClient { socket, bytes } => self.bytes_for_client(socket, &bytes),
            Event::Sent { socket } => shards.sent(socket, links, events),
            Event::ServerEnds { socket } => shards.end(socket, links, events),
            Event::ServerClosed { socket } => shards.closed(socket, links, events),
            Event::ClientEnds { socket } => {
                self.clients.iter_mut().filter(|client| client.socket == Some(socket)).for_each(Client::lost);
            }
            Event::Client { client } => self.client_acts(client),
            Event::Fault(fault) => self.go_wrong(fault),
        }
    }

    fn hand_in(&mut self) {
        if self.is_calm {
            return;
        }
        // While the router is down nobody answers.
        if self.router.is_up() {
            let request = draw_request(&self.users, self.mix.pushes_one_in(), &mut self.events);
            self.router.hand_in(request, &mut self.events);
        }
        self.events.within(5 * MS, 300 * MS, Event::HandIn);
    }

    fn dial(&mut self, shard: usize) {
        if self.links.believed(shard).is_some() {
            return;
        }
        if self.router.is_up() && self.links.dial(shard, &self.events) {
            self.shards
                .input(shard, &mut self.links, &mut self.events, |shard, now| shard.handle_link_up(0, now));
        } else {
            Shards::redial(shard, &mut self.events);
        }
    }

    fn bytes_for_client(&mut self, socket: u64, bytes: &bytes::Bytes) {
        let Some(client) = self.clients.iter_mut().find(|client| client.socket == Some(socket)) else {
            return;
        };
        for answer in client.received(bytes, &self.router.model, &mut self.events) {
            self.shards.send_to_server(socket, answer, &mut self.events);
        }
    }

    fn client_acts(&mut self, client: usize) {
        if self.clients[client].has_left {
            return;
        }
        match self.clients[client].socket {
            None => {
                let shard = self.events.between(0, SHARDS as u64 - 1) as usize;
                if let Some(socket) = self.shards.accept(shard, &mut self.links, &mut self.events) {
                    let request = self.clients[client].connect(socket, &mut self.events);
                    self.shards.send_to_server(socket, request, &mut self.events);
                }
            }
            Some(socket) => {
                for said in self.clients[client].act(&mut self.router.model, &mut self.events) {
                    self.shards.send_to_server(socket, said, &mut self.events);
                }
            }
        }
        self.events.within(300 * MS, 1_500 * MS, Event::Client { client });
    }

    fn plan_fault(&mut self) {
        let kinds = self.mix.kinds();
        if !kinds.is_empty() && !self.is_calm {
            let kind = kinds[self.events.between(0, kinds.len() as u64 - 1) as usize];
            self.events.within(200 * MS, 6 * S, Event::Fault(kind));
        }
    }

    fn go_wrong(&mut self, fault: Fault) {
        if self.is_calm && fault != Fault::Restart {
            return;
        }
        *self.faults.entry(fault).or_default() += 1;
        let mut street = Street { links: &mut self.links, events: &mut self.events };
        faults::happen(fault, &mut self.router, &mut self.shards, &mut street);
        if fault != Fault::Restart {
            self.plan_fault();
        }
    }

    /// One to each user, to each topic and to everybody, when all is well: they come by themselves.
    fn hand_in_probes(&mut self) {
        let to_users = self.users.iter().cloned().map(Target::User);
        let to_topics = TOPICS.iter().map(|topic| Target::Topic((*topic).to_owned()));
        for to in to_users.chain(to_topics).chain([Target::All(true)]) {
            let request = Request {
                to,
                priority: Priority::High,
                category: None,
                title: Some("a probe".to_owned()),
                body: None,
                data: None,
                channels: vec![Channel::Inapp],
                fallback: Vec::new(),
                ack_within_s: None,
                channel_within_s: BTreeMap::new(),
                ttl_s: None,
                collapse_key: None,
                send_at: None,
            };
            self.router.hand_in(request, &mut self.events);
        }
    }

    fn check_subscribed(&mut self) {
        for client in self.clients.iter().filter(|client| !client.subscribed) {
            let who = client.name();
            self.events.broken("I1", format!("{who} got no subscription in the calm of the beginning"));
        }
    }

    /// Whoever is connected has been told of everything, or was told to ask.
    fn check_told(&mut self) {
        let now_us = self.events.now_us();
        for client in &self.clients {
            if !client.is_settled() {
                self.events.broken("I1", format!("{} has not come to rest", client.name()));
            }
            for unknown in self.router.model.unknown_to(client, now_us) {
                self.events.broken("I1", unknown);
            }
        }
    }

    fn check(&mut self, looked_us: u64) {
        let World { events, router, clients, .. } = self;
        for client in clients.iter() {
            router.model.check(client, looked_us, events);
        }
        if router.journal.lag() > 0 {
            events.broken("I1", format!("{} records are not committed", router.journal.lag()));
        }
        if router.audit.open() > 0 {
            events.broken("I1", format!("{} deliveries are open after all deadlines", router.audit.open()));
        }
        let Some(owner) = &router.owner else { return events.broken("I1", "the router is down at the end") };
        let told = owner.view().reconcile(events.wall(), 0).expect("the store can be read");
        let may_miss = router.model.lost.len() as u64;
        if told.unaccounted != 0 || told.missing > may_miss || (told.missing == 0 && !told.balanced) {
            events.broken("I1", format!("the equation does not hold: {told:?}"));
        }
        let counters = owner.view().counters().expect("the store can be read");
        for channel in Channel::ALL {
            let accepted = counters.channel(channel).accepted;
            let (least, most) = router.model.deliveries(channel);
            if !(least..=most).contains(&accepted) {
                let name = channel.name();
                let text = format!("{name}: {least} to {most} deliveries were promised, {accepted} accepted");
                events.broken("I1", text);
            }
        }
    }

    fn say_farewell(&mut self) {
        for client in &mut self.clients {
            client.has_left = true;
            if let Some(socket) = client.socket {
                self.events.within(0, MS, Event::ServerEnds { socket });
                self.events.within(0, MS, Event::ClientEnds { socket });
            }
        }
    }

    /// When everybody has gone, nothing is left of them.
    fn check_empty(&mut self) {
        self.shards.check_empty(&mut self.events);
        let present = self.router.owner.as_ref().map_or(0, router::owner::Owner::users_present);
        if present > 0 {
            self.events.broken("I5", format!("{present} users are present who left"));
        }
    }

    fn report(mut self) -> Report {
        let live = |client: &Client| client.known.values().filter(|known| known.live).count();
        Report {
            broken: self.events.take_broken(),
            trace: self.events.trace(),
            events: self.events.happened,
            handed_in: self.router.model.promises.len(),
            live: self.clients.iter().map(live).sum(),
            not_live: self.clients.iter().map(|client| self.router.model.not_live(client)).sum(),
            twice_on_a_socket: self.clients.iter().map(|client| client.twice).sum(),
            crashes: self.router.crashes,
            lost: self.router.model.lost.len(),
            pushes_held_back: self.router.ways.held_back,
            dropped: self.shards.dropped(),
            faults: self.faults,
        }
    }
}
